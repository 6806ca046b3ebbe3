//! What TLSA records and MTA-STS policies make of a delivery, towards real handshakes and a real web server.

#![allow(clippy::unwrap_used)]

mod scripted;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use postern_delivery::route::{Hop, Host, Mx, Table, Way};
use postern_delivery::security::{Security, Tls};
use postern_delivery::{Policies, Terms, hosts};
use postern_dns::{Association, Zone};
use postern_tls::dane::Chain;
use postern_tls::{ClientTls, PemFile, ServerTls};
use scripted::*;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

const DOMAIN: &str = "a.test";
const HOST: &str = "mx.a.test";

/// A mail server, and the channels its messages came over.
struct Server {
    port: u16,
    came: Arc<Mutex<Vec<&'static str>>>,
}

impl Server {
    /// Offers TLS if it is given any.
    async fn start(tls: Option<ServerTls>) -> Server {
        let came = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&came);
        let part = move |_, peer| serve(peer, tls.clone(), Arc::clone(&told));
        let (address, _) = listen::<_, ()>("127.0.0.1:0", part).await;
        Server {
            port: address.port(),
            came,
        }
    }
}

async fn serve(
    mut peer: Peer,
    tls: Option<ServerTls>,
    came: Arc<Mutex<Vec<&'static str>>>,
) -> Option<()> {
    let Some(tls) = tls else {
        peer.say(&["220 peer.test"]).await;
        peer.expect("EHLO").await;
        peer.offer(&[]).await;
        return take(peer, "clear", came).await;
    };
    peer.greet(&["STARTTLS"]).await;
    if peer.hear().await != "STARTTLS" {
        return None;
    }
    peer.say(&["220 go"]).await;
    let stream = tls.accept(peer.stream.into_inner()).await.ok()?;
    let mut peer = Peer::new(stream);
    peer.expect("EHLO").await;
    peer.offer(&[]).await;
    take(peer, "tls", came).await
}

async fn take<S: AsyncRead + AsyncWrite + Unpin>(
    mut peer: Peer<S>,
    how: &'static str,
    came: Arc<Mutex<Vec<&'static str>>>,
) -> Option<()> {
    let first = peer.hear().await;
    if first.starts_with("MAIL") {
        peer.say(&["250 ok"]).await;
        peer.expect("RCPT").await;
        peer.say(&["250 ok"]).await;
        peer.expect("DATA").await;
        peer.say(&["354 go"]).await;
        peer.data().await;
        came.lock().unwrap().push(how);
        peer.say(&["250 2.0.0 queued"]).await;
    }
    None
}

async fn deliver(way: &Way, terms: &Terms, zone: &Zone) -> String {
    let mut connection = match hosts::reach(way, terms, zone).await {
        Ok(connection) => connection,
        Err(outcome) => return told(&outcome),
    };
    let mut tray = Tray::with(vec![parcel(0, &["x@a.test"], b"x\r\n")]);
    connection.run(&mut tray).await;
    connection.quit().await;
    tray.told(0).concat()
}

fn by_mx(port: u16, security: Security) -> Arc<Way> {
    let table = Table::new(Mx {
        port,
        security,
        ..Mx::default()
    });
    table.route("x@a.test").unwrap().way()
}

fn dane() -> Security {
    Security {
        tls: Tls::Dane,
        ..Security::default()
    }
}

fn sts() -> Security {
    Security {
        mta_sts: true,
        ..Security::default()
    }
}

/// The domain with its host on loopback.
fn zone() -> Zone {
    Zone::default()
        .mx(DOMAIN, 10, HOST)
        .address(HOST, "127.0.0.1")
}

fn signed() -> Zone {
    zone().vouched(DOMAIN).vouched(HOST)
}

fn tlsa(zone: Zone, port: u16, usage: u8, data: Vec<u8>) -> Zone {
    let name = format!("_{port}._tcp.{HOST}");
    let record = Association {
        usage,
        selector: 1,
        matching: 1,
        data: data.into(),
    };
    zone.association(&name, record).vouched(&name)
}

#[tokio::test]
async fn tlsa_records_decide_where_dnssec_vouches_for_them() {
    // The name in the certificate and its authority do not matter.
    let (tls, root) = certificate("somebody.test");
    let right = Chain::read(&root).unwrap().key_digest();
    let wrong = vec![7; 32];
    let with = Server::start(Some(tls)).await;
    let without = Server::start(None).await;
    let none = "deferred 4.7.5 the TLS handshake failed: no TLSA record of mx.a.test fits the certificate; TLS is required by the TLSA records of the host (DANE)";
    let bare = "deferred 4.7.10 TLS is required by the TLSA records of the host (DANE), and the host does not offer STARTTLS";
    let sent = "delivered 250 2.0.0 queued";
    let (port, plain) = (with.port, without.port);
    let broken = format!("_{port}._tcp.{HOST}");
    let cases = [
        (
            "right",
            port,
            tlsa(signed(), port, 3, right.clone()),
            sent,
            Some("tls"),
        ),
        (
            "wrong",
            port,
            tlsa(signed(), port, 3, wrong.clone()),
            none,
            None,
        ),
        (
            "one of two",
            port,
            tlsa(
                tlsa(signed(), port, 3, wrong.clone()),
                port,
                3,
                right.clone(),
            ),
            sent,
            Some("tls"),
        ),
        (
            "of no use",
            port,
            tlsa(signed(), port, 1, wrong.clone()),
            sent,
            Some("tls"),
        ),
        (
            "of no use, no TLS",
            plain,
            tlsa(signed(), plain, 1, wrong.clone()),
            bare,
            None,
        ),
        (
            "right, no TLS",
            plain,
            tlsa(signed(), plain, 3, right.clone()),
            bare,
            None,
        ),
        ("none", plain, signed(), sent, Some("clear")),
        ("none, TLS", port, signed(), sent, Some("tls")),
        (
            "not looked up",
            port,
            signed().failing(&broken),
            "deferred 4.4.3 the TLSA look-up of",
            None,
        ),
        (
            "address not looked up",
            port,
            signed().failing(HOST),
            "deferred 4.4.3 the address look-up of",
            None,
        ),
        (
            "MX not looked up",
            port,
            signed().failing(DOMAIN),
            "deferred 4.4.3 the MX look-up of",
            None,
        ),
        (
            "MX not vouched for",
            port,
            tlsa(zone().vouched(HOST), port, 3, wrong.clone()),
            sent,
            Some("tls"),
        ),
        (
            "host not vouched for",
            port,
            tlsa(zone().vouched(DOMAIN), port, 3, wrong.clone()),
            sent,
            Some("tls"),
        ),
    ];
    for (name, to, zone, expected, how) in cases {
        let said = deliver(&by_mx(to, dane()), &terms(), &zone).await;
        assert!(said.starts_with(expected), "{name}: {said}");
        let came: Vec<_> = [&with, &without]
            .iter()
            .flat_map(|server| std::mem::take(&mut *server.came.lock().unwrap()))
            .collect();
        assert_eq!(came.first().copied(), how, "{name}");
    }
}

#[tokio::test]
async fn a_named_host_has_tlsa_records_too() {
    let (tls, root) = certificate("somebody.test");
    let server = Server::start(Some(tls)).await;
    let hop = Hop {
        host: Host::Name(HOST.into()),
        port: server.port,
    };
    let way = Way::hosts(vec![hop], dane(), false);
    let right = Chain::read(&root).unwrap().key_digest();
    let said = deliver(&way, &terms(), &tlsa(signed(), server.port, 3, right)).await;
    assert_eq!(said, "delivered 250 2.0.0 queued");
    let said = deliver(&way, &terms(), &tlsa(signed(), server.port, 3, vec![7; 32])).await;
    assert!(said.starts_with("deferred 4.7.5 "), "{said}");
}

/// Where `mta-sts.a.test` gives out a policy, and how often it did.
struct Web {
    port: u16,
    page: Arc<Mutex<String>>,
    asked: Arc<AtomicUsize>,
}

impl Web {
    async fn start(tls: ServerTls) -> Web {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let web = Web {
            port: listener.local_addr().unwrap().port(),
            page: Arc::default(),
            asked: Arc::default(),
        };
        let (page, asked) = (Arc::clone(&web.page), Arc::clone(&web.asked));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok(mut stream) = tls.accept(stream).await else {
                    continue;
                };
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                assert!(request.starts_with(b"GET /.well-known/mta-sts.txt HTTP/1.1\r\n"));
                asked.fetch_add(1, Ordering::Relaxed);
                let page = page.lock().unwrap().clone();
                let _ = stream.write_all(page.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        web
    }

    fn put(&self, mode: &str, mx: &str, max_age: u32) {
        let text = format!("version: STSv1\nmode: {mode}\nmx: {mx}\nmax_age: {max_age}\n");
        self.answer(200, "text/plain; charset=utf-8", &text);
    }

    fn answer(&self, status: u16, kind: &str, text: &str) {
        let head = format!("HTTP/1.1 {status} x\r\nContent-Type: {kind}\r\n");
        *self.page.lock().unwrap() = format!("{head}Content-Length: {}\r\n\r\n{text}", text.len());
    }

    fn asked(&self) -> usize {
        self.asked.swap(0, Ordering::Relaxed)
    }
}

fn published(zone: Zone, id: &str) -> Zone {
    zone.text("_mta-sts.a.test", &format!("v=STSv1; id={id};"))
        .address("mta-sts.a.test", "127.0.0.1")
}

/// Certificates for the web server and the mail host, and terms in which both count.
fn certified(host: &str, file: Option<&Path>, port: u16) -> (ServerTls, Terms, PemFile) {
    let (mail, root) = certificate(host);
    let terms = Terms {
        policies: Policies::new(file.map(Path::to_owned), port),
        ..terms()
    };
    (mail, terms, root)
}

fn trusted(terms: Terms, roots: [&PemFile; 2]) -> Terms {
    let text = roots.map(|root| root.text.clone()).concat();
    let path = "roots.pem".into();
    Terms {
        verified_tls: ClientTls::verified_by(PemFile { path, text }),
        ..terms
    }
}

#[tokio::test]
async fn a_policy_is_kept_to_as_its_mode_says() {
    let (web_tls, web_root) = certificate("mta-sts.a.test");
    let web = Web::start(web_tls).await;
    let sent = "delivered 250 2.0.0 queued";
    let unnamed = "deferred 4.7.5 the MTA-STS policy of a.test does not name the host mx.a.test";
    let invalid = "deferred 4.7.5 the TLS handshake failed: invalid peer certificate: certificate not valid for name \"mx.a.test\"";
    let bare = "deferred 4.7.10 TLS is required by the MTA-STS policy of a.test, and the host does not offer STARTTLS";
    let cases = [
        ("enforce", "*.a.test", Some(HOST), sent, Some("tls")),
        ("enforce", HOST, Some(HOST), sent, Some("tls")),
        ("enforce", "mx.b.test", Some(HOST), unnamed, None),
        ("enforce", "*.a.test", Some("other.a.test"), invalid, None),
        ("enforce", "*.a.test", None, bare, None),
        ("testing", "mx.b.test", None, sent, Some("clear")),
        (
            "testing",
            "*.a.test",
            Some("other.a.test"),
            sent,
            Some("tls"),
        ),
        ("none", "mx.b.test", None, sent, Some("clear")),
    ];
    for (mode, mx, name, expected, how) in cases {
        web.put(mode, mx, 1000);
        let (mail, terms, root) = certified(name.unwrap_or(HOST), None, web.port);
        let server = Server::start(name.map(|_| mail)).await;
        let terms = trusted(terms, [&web_root, &root]);
        let way = by_mx(server.port, sts());
        let said = deliver(&way, &terms, &published(zone(), "1")).await;
        assert!(said.starts_with(expected), "{mode} {mx} {name:?}: {said}");
        assert_eq!(server.came.lock().unwrap().first().copied(), how);
        assert_eq!(web.asked(), 1);
    }
}

#[tokio::test]
async fn the_hosts_tlsa_records_outweigh_the_domains_policy() {
    let (web_tls, web_root) = certificate("mta-sts.a.test");
    let web = Web::start(web_tls).await;
    web.put("enforce", "mx.b.test", 1000);
    let (mail, terms, root) = certified("somebody.test", None, web.port);
    let right = Chain::read(&root).unwrap().key_digest();
    let server = Server::start(Some(mail)).await;
    let terms = trusted(terms, [&web_root, &root]);
    let both = Security {
        mta_sts: true,
        ..dane()
    };
    let way = by_mx(server.port, both);
    let zone = published(tlsa(signed(), server.port, 3, right), "1");
    assert_eq!(
        deliver(&way, &terms, &zone).await,
        "delivered 250 2.0.0 queued"
    );
    // Without records the policy holds, and records that do not fit are not saved by one that would.
    let said = deliver(&way, &terms, &published(signed(), "1")).await;
    assert!(said.contains("policy of a.test does not name"), "{said}");
    web.put("enforce", HOST, 1000);
    let zone = published(tlsa(signed(), server.port, 3, vec![7; 32]), "2");
    let said = deliver(&way, &terms, &zone).await;
    assert!(said.contains("no TLSA record of mx.a.test fits"), "{said}");
}

#[tokio::test]
async fn a_policy_is_fetched_once_and_kept_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mta-sts");
    let (web_tls, web_root) = certificate("mta-sts.a.test");
    let web = Web::start(web_tls).await;
    let tls = ClientTls::verified_by(web_root);
    let policies = Policies::new(Some(file.clone()), web.port);
    web.put("enforce", HOST, 1000);
    let zone = Arc::new(published(zone(), "1"));
    let many: Vec<_> = (0..50)
        .map(|_| {
            let (policies, zone, tls) = (policies.clone(), Arc::clone(&zone), tls.clone());
            tokio::spawn(async move { policies.of(DOMAIN, &*zone, &tls).await })
        })
        .collect();
    for one in many {
        assert!(one.await.unwrap().is_some_and(|policy| policy.covers(HOST)));
    }
    assert_eq!(web.asked(), 1, "one fetch for all");

    // A new id is fetched; where that fails what is kept holds, and nobody asks again at once.
    web.put("enforce", "mx2.a.test", 1000);
    let second = published(Zone::default(), "2");
    let policy = policies.of(DOMAIN, &second, &tls).await.unwrap();
    assert!(policy.covers("mx2.a.test") && web.asked() == 1);
    let third = published(Zone::default(), "3");
    for (status, kind, text) in [
        (
            404,
            "text/plain",
            "version: STSv1\nmode: none\nmax_age: 1\n",
        ),
        (301, "text/plain", ""),
        (200, "text/html", "version: STSv1\nmode: none\nmax_age: 1\n"),
        (200, "text/plain", "version: STSv2\n"),
    ] {
        web.answer(status, kind, text);
        let fresh = Policies::new(Some(file.clone()), web.port);
        for _ in 0..3 {
            let policy = fresh.of(DOMAIN, &third, &tls).await.unwrap();
            assert!(policy.covers("mx2.a.test"), "{status} {kind}");
        }
        assert_eq!(web.asked(), 1, "{status} {kind}");
    }

    // After a restart it holds without any of DNS and web, until its time is over.
    let nothing = Zone::default();
    let again = Policies::new(Some(file.clone()), web.port);
    assert!(again.of(DOMAIN, &nothing, &tls).await.is_some());
    let old = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, old.replace("\"fetched\":1", "\"fetched\":")).unwrap();
    let later = Policies::new(Some(file), web.port);
    assert_eq!(later.of(DOMAIN, &nothing, &tls).await, None);
    // … and nothing comes in its place while it cannot be fetched (RFC 8461 §3.3).
    assert_eq!(later.of(DOMAIN, &third, &tls).await, None);
}
