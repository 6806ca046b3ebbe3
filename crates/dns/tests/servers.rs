//! The resolver against real name servers: nsd with a zone, unbound before it, and sockets that misbehave.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use postern_dns::lookup::{Answer, Error, Exchange, Lookup};
use postern_dns::mx::{self, Dice, MailHosts};
use postern_dns::{Ask, Data, Direct, Resolver, Settings, Type, reverse};

/// A name server of our own; ends with the test.
struct Server {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that is free for UDP and TCP.
fn free_port() -> SocketAddr {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = tcp.local_addr().expect("an address");
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}

impl Server {
    /// Starts a program with the configuration written for a folder and an address, and waits until it listens.
    fn start(
        program: &str,
        package: &str,
        args: &[&str],
        write: impl Fn(&Path, SocketAddr) -> String,
    ) -> Server {
        for _ in 0..5 {
            let (folder, address) = (tempfile::tempdir().expect("a folder"), free_port());
            let config = folder.path().join("server.conf");
            fs::write(&config, write(folder.path(), address)).expect("written");
            let mut child = Command::new(program)
                .args(args)
                .arg("-c")
                .arg(&config)
                .stderr(Stdio::null())
                .stdout(Stdio::null())
                .spawn()
                .unwrap_or_else(|error| panic!("{program} (Debian's package {package}): {error}"));
            let deadline = Instant::now() + Duration::from_secs(20);
            while Instant::now() < deadline && child.try_wait().expect("waited").is_none() {
                if std::net::TcpStream::connect(address).is_ok() {
                    return Server {
                        child,
                        address,
                        _folder: folder,
                    };
                }
                std::thread::park_timeout(Duration::from_millis(5));
            }
            // The port was taken in between: once more, on another.
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("{program} does not start");
    }

    fn nsd() -> Server {
        Server::start("nsd", "nsd", &["-d"], |folder, address| {
            fs::write(folder.join("example.zone"), zone()).expect("written");
            fs::write(folder.join("reverse.zone"), REVERSE).expect("written");
            let (folder, ip, port) = (folder.display(), address.ip(), address.port());
            format!(
                "server:\n ip-address: {ip}@{port}\n username: \"\"\n chroot: \"\"\n zonesdir: \"{folder}\"\n \
                 database: \"\"\n pidfile: \"{folder}/nsd.pid\"\n xfrdfile: \"{folder}/xfrd\"\n \
                 zonelistfile: \"{folder}/list\"\n logfile: \"{folder}/nsd.log\"\n server-count: 1\n\
                 remote-control:\n control-enable: no\n\
                 zone:\n name: example.test\n zonefile: example.zone\n\
                 zone:\n name: 2.0.192.in-addr.arpa\n zonefile: reverse.zone\n"
            )
        })
    }

    /// Asks `nsd` for its zones, nobody at all for `dead.test`, and knows of no other.
    fn unbound(nsd: &Server) -> Server {
        let (stub, dead) = (nsd.address, free_port());
        Server::start("unbound", "unbound", &["-d"], move |folder, address| {
            let folder = folder.display();
            let stub_zone = |name: &str, at: SocketAddr| {
                format!(
                    "stub-zone:\n name: \"{name}\"\n stub-addr: {}@{}\n",
                    at.ip(),
                    at.port()
                )
            };
            format!(
                "server:\n interface: {}\n port: {}\n access-control: 127.0.0.0/8 allow\n \
                 do-not-query-localhost: no\n do-daemonize: no\n username: \"\"\n chroot: \"\"\n \
                 directory: \"{folder}\"\n pidfile: \"{folder}/pid\"\n logfile: \"{folder}/log\"\n use-syslog: no\n \
                 num-threads: 1\n module-config: \"iterator\"\n local-zone: \"test.\" nodefault\n \
                 local-zone: \".\" static\n local-zone: \"example.test.\" transparent\n \
                 local-zone: \"dead.test.\" transparent\n local-zone: \"2.0.192.in-addr.arpa.\" transparent\n\
                 remote-control:\n control-enable: no\n{}{}{}",
                address.ip(),
                address.port(),
                stub_zone("example.test", stub),
                stub_zone("2.0.192.in-addr.arpa", stub),
                stub_zone("dead.test", dead),
            )
        })
    }
}

fn zone() -> String {
    let mut zone = "$ORIGIN example.test.\n$TTL 300\n\
        @ SOA ns1 hostmaster 1 3600 600 86400 60\n@ NS ns1\nns1 A 127.0.0.1\n\
        @ MX 20 MX2\n@ MX 10 mx1\nmx1 A 192.0.2.1\nmx1 AAAA 2001:db8::1\nmx2 A 192.0.2.2\n\
        null MX 0 .\nhost A 192.0.2.3\ntext TXT \"no address\"\n\
        alias CNAME @\nloop1 CNAME loop2\nloop2 CNAME loop1\ndangling CNAME nowhere\n\
        xn--bcher-kva MX 5 mx1\nshort 2 A 192.0.2.4\n"
        .to_owned();
    // Past what one UDP answer holds.
    for number in 0..200 {
        zone.push_str(&format!(
            "many MX {number} a-rather-long-name-for-host-number-{number}\n"
        ));
    }
    zone
}

const REVERSE: &str = "$ORIGIN 2.0.192.in-addr.arpa.\n$TTL 300\n\
    @ SOA ns1.example.test. hostmaster.example.test. 1 3600 600 86400 60\n@ NS ns1.example.test.\n\
    1 PTR mx1.example.test.\n1 PTR host.example.test.\n66 PTR mx1.example.test.\n67 PTR nowhere.example.test.\n";

fn resolver(servers: &[SocketAddr]) -> Resolver {
    Resolver::with_servers(servers.to_vec())
}

fn sorted(answer: Answer<Exchange>) -> Vec<(u16, String)> {
    let mut records: Vec<_> = answer
        .records
        .iter()
        .map(|record| (record.preference, record.host.to_string()))
        .collect();
    records.sort();
    records
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[tokio::test]
async fn unbound_and_nsd_are_understood() {
    let nsd = Server::nsd();
    let unbound = Server::unbound(&nsd);
    for server in [nsd.address, unbound.address] {
        let dns = resolver(&[server]);
        let answer = dns.mx("Example.TEST.").await.expect("an answer");
        assert!(answer.ttl > Duration::from_secs(200) && answer.ttl <= Duration::from_secs(300));
        assert!(!answer.secure);
        assert_eq!(
            sorted(answer),
            [
                (10, "mx1.example.test".into()),
                (20, "mx2.example.test".into())
            ]
        );
        assert_eq!(
            sorted(dns.mx("bücher.example.test").await.expect("an answer")).len(),
            1
        );
        assert_eq!(
            sorted(dns.mx("alias.example.test").await.expect("an answer")).len(),
            2
        );
        let null = dns.mx("null.example.test").await.expect("an answer");
        assert_eq!(
            mx::order(null, |_| false, &mut Dice::seeded(1)),
            MailHosts::Null
        );

        let both = dns.addresses("mx1.example.test").await.expect("addresses");
        assert_eq!(both.records, [ip("2001:db8::1"), ip("192.0.2.1")]);
        let one = dns.addresses("host.example.test").await.expect("addresses");
        assert_eq!(one.records, [ip("192.0.2.3")]);
        assert_eq!(
            dns.addresses("[192.0.2.9]").await.expect("itself").records,
            [ip("192.0.2.9")]
        );
    }
}

#[tokio::test]
async fn there_is_none_is_told_from_not_now() {
    let nsd = Server::nsd();
    let unbound = Server::unbound(&nsd);
    let dns = resolver(&[unbound.address]);
    for gone in [
        "nowhere.example.test",
        "dangling.example.test",
        "outside.example",
    ] {
        let error = dns.mx(gone).await.expect_err("nothing");
        assert!(matches!(error, Error::NotFound { .. }), "{gone}: {error}");
        let error = dns.addresses(gone).await.expect_err("nothing");
        assert!(matches!(error, Error::NotFound { .. }), "{gone}: {error}");
    }
    assert!(matches!(
        dns.mx("host.example.test").await,
        Err(Error::Empty { .. })
    ));
    assert!(matches!(
        dns.addresses("text.example.test").await,
        Err(Error::Empty { .. })
    ));
    assert!(
        dns.addresses("loop1.example.test")
            .await
            .expect_err("a loop")
            .is_temporary()
    );
    assert!(
        dns.mx("x.dead.test")
            .await
            .expect_err("SERVFAIL")
            .is_temporary()
    );
    // Not its zone: nsd refuses.
    assert!(
        resolver(&[nsd.address])
            .mx("outside.example")
            .await
            .expect_err("REFUSED")
            .is_temporary()
    );
    let found = mx::find(&dns, "host.example.test", |_| false, &mut Dice::seeded(1))
        .await
        .expect("itself");
    assert!(matches!(found, MailHosts::Try { hosts, .. } if *hosts[0] == *"host.example.test"));
}

#[tokio::test]
async fn a_long_answer_comes_by_tcp() {
    let nsd = Server::nsd();
    let dns = resolver(&[nsd.address]);
    let found = mx::find(&dns, "many.example.test", |_| false, &mut Dice::seeded(1))
        .await
        .expect("hosts");
    let MailHosts::Try { hosts, .. } = found else {
        panic!("{found:?}")
    };
    assert_eq!(hosts.len(), mx::MOST_HOSTS);
    assert!(
        hosts
            .iter()
            .all(|host| host.starts_with("a-rather-long-name"))
    );
}

#[tokio::test]
async fn names_of_addresses_are_confirmed() {
    let nsd = Server::nsd();
    let dns = resolver(&[nsd.address]);
    for (address, names) in [
        ("192.0.2.1", vec!["mx1.example.test"]),
        ("192.0.2.66", vec![]),
        ("192.0.2.67", vec![]),
    ] {
        let found = reverse::confirm(&dns, ip(address), Duration::from_secs(5))
            .await
            .expect("confirmed");
        let found: Vec<&str> = found.names.iter().map(|name| &**name).collect();
        assert_eq!(found, names, "{address}");
    }
}

/// A socket that takes questions and says nothing.
fn silent() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let address = socket.local_addr().expect("an address");
    (socket, address)
}

#[tokio::test]
async fn silence_ends_within_the_deadline() {
    let (_socket, address) = silent();
    let deadline = Duration::from_millis(300);
    let dns = Resolver::new(Settings {
        servers: vec![address],
        deadline,
        ..Settings::default()
    });
    let start = Instant::now();
    assert!(
        dns.mx("example.test")
            .await
            .expect_err("silence")
            .is_temporary()
    );
    assert!(
        dns.addresses("example.test")
            .await
            .expect_err("silence")
            .is_temporary()
    );
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    let start = Instant::now();
    let found = reverse::confirm(&dns, ip("192.0.2.1"), Duration::from_millis(50)).await;
    assert!(found.expect_err("silence").is_temporary());
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn the_next_server_is_asked_where_one_does_not_answer() {
    let nsd = Server::nsd();
    let (_socket, quiet) = silent();
    let closed = free_port();
    let settings = |servers: &[SocketAddr]| Settings {
        servers: servers.to_vec(),
        server_timeout: Duration::from_millis(500),
        ..Settings::default()
    };
    let failing = Server::unbound(&nsd);
    for servers in [[quiet, nsd.address], [closed, nsd.address]] {
        let dns = Resolver::new(settings(&servers));
        let answer = dns.mx("example.test").await.expect("an answer");
        assert_eq!(answer.records.len(), 2, "{servers:?}");
        // From now on the quiet one is asked last.
        let start = Instant::now();
        dns.mx("many.example.test").await.expect("an answer");
        assert!(start.elapsed() < Duration::from_millis(500), "{servers:?}");
    }
    // unbound fails on this one, nsd refuses it: a failure, and no "there is none".
    let dns = Resolver::new(settings(&[failing.address, nsd.address]));
    assert!(
        dns.mx("x.dead.test")
            .await
            .expect_err("nobody knows")
            .is_temporary()
    );
}

#[tokio::test]
async fn a_server_that_fails_is_not_the_last_word() {
    let nsd = Server::nsd();
    let unbound = Server::unbound(&nsd);
    // nsd refuses what is not its own; unbound says that there is no such name.
    let dns = resolver(&[nsd.address, unbound.address]);
    assert!(matches!(
        dns.mx("outside.example").await,
        Err(Error::NotFound { .. })
    ));
    assert_eq!(
        dns.mx("example.test")
            .await
            .expect("an answer")
            .records
            .len(),
        2
    );
}

#[tokio::test]
async fn nonsense_is_not_an_answer() {
    let (socket, address) = silent();
    socket.set_nonblocking(true).expect("non-blocking");
    let socket = tokio::net::UdpSocket::from_std(socket).expect("a socket");
    let babble = async {
        let mut packet = [0; 512];
        loop {
            let (length, from) = socket.recv_from(&mut packet).await.expect("a question");
            // The question's own id with rubbish behind it, a cut header, and an answer to another question.
            let rubbish = [&packet[..2], &[0xff; 40]].concat();
            let _ = socket.send_to(&rubbish, from).await;
            let _ = socket.send_to(&packet[..5], from).await;
            packet[0] ^= 0x55;
            packet[2] |= 0x80;
            let _ = socket.send_to(&packet[..length], from).await;
        }
    };
    let settings = Settings {
        servers: vec![address],
        deadline: Duration::from_secs(1),
        server_timeout: Duration::from_millis(300),
    };
    let dns = Resolver::new(settings);
    tokio::select! {
        () = babble => {}
        found = dns.mx("example.test") => assert!(found.expect_err("nonsense").is_temporary()),
    }
}

fn direct(servers: &[SocketAddr]) -> Direct {
    Direct::new(servers, Duration::from_millis(800))
}

#[tokio::test]
async fn a_direct_answer_tells_all_of_itself() {
    let nsd = Server::nsd();
    let unbound = Server::unbound(&nsd);
    for server in [nsd.address, unbound.address] {
        let dns = direct(&[server]);
        let told = dns.ask("Example.TEST.", Type::Mx).await.expect("an answer");
        assert_eq!(
            (told.server, told.over_tcp, told.vouched, told.exists),
            (Some(server), false, false, true)
        );
        assert_eq!((told.data.len(), told.aliases.len()), (2, 0));
        let told = dns
            .ask("alias.example.test", Type::Mx)
            .await
            .expect("an answer");
        assert_eq!(
            (told.data.len(), &*told.aliases),
            (2, &["example.test".into()][..])
        );
        let told = dns
            .ask("many.example.test", Type::Mx)
            .await
            .expect("an answer");
        assert_eq!((told.over_tcp, told.data.len()), (true, 200));
        let told = dns
            .ask("nowhere.example.test", Type::A)
            .await
            .expect("an answer");
        assert_eq!((told.exists, told.data.len()), (false, 0));
        let told = dns
            .ask("text.example.test", Type::A)
            .await
            .expect("an answer");
        assert_eq!((told.exists, told.data.len()), (true, 0));
        let told = dns
            .ask("text.example.test", Type::Txt)
            .await
            .expect("an answer");
        assert_eq!(told.data, [Data::Text((*b"no address").into())]);
        let told = dns
            .ask("1.2.0.192.in-addr.arpa", Type::Ptr)
            .await
            .expect("an answer");
        assert_eq!(told.data.len(), 2);
        assert!(
            dns.ask("a b", Type::A)
                .await
                .expect_err("no name")
                .server
                .is_none()
        );
    }
    let patient = Direct::new(&[unbound.address], Duration::from_secs(30));
    let failed = patient.ask("x.dead.test", Type::A).await;
    assert!(failed.expect_err("SERVFAIL").reason.contains("SERVFAIL"));
    // nsd refuses, unbound knows.
    let told = direct(&[nsd.address, unbound.address])
        .ask("outside.example", Type::A)
        .await;
    assert_eq!(told.expect("an answer").server, Some(unbound.address));
}

#[tokio::test]
async fn direct_questions_end_where_nobody_answers() {
    let (_socket, quiet) = silent();
    let dns = direct(&[quiet]);
    let start = Instant::now();
    for _ in 0..20 {
        assert!(dns.ask("example.test", Type::A).await.is_err());
    }
    // Two waits, and then it is not asked again.
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    let failed = direct(&[free_port()]).ask("example.test", Type::A).await;
    assert!(
        failed
            .expect_err("nobody")
            .reason
            .contains("cannot be reached")
    );
    assert!(direct(&[]).ask("example.test", Type::A).await.is_err());
}
