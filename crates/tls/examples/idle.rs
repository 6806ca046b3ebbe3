//! What an idle server costs in memory, alone and for each connection.
//!
//! `CERTIFICATE=… KEY=… cargo run --release -p postern-tls --example idle [plain|tls CONNECTIONS]` prints the proportional
//! set size of a process with a tokio runtime, then with a certificate loaded, then with that many idle connections.
//! The clients are a process of their own.

use std::io::{self, Read};
use std::process::{Child, Command, Stdio};
use std::time::SystemTime;

use postern_tls::{ClientTls, PairFiles, PemFile, ServerSettings, ServerTls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?;
    match args.as_slice() {
        [kind, address, count] => runtime.block_on(connect(kind, address, number(count))),
        [kind, count] => runtime.block_on(serve(kind, number(count))),
        _ => runtime.block_on(serve("tls", 1000)),
    }
}

fn number(text: &str) -> usize {
    text.parse().unwrap_or(1000)
}

async fn serve(kind: &str, count: usize) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    show("runtime")?;
    let tls = if kind == "tls" { Some(load()?) } else { None };
    if tls.is_some() {
        show("certificate loaded")?;
    }
    let one = hold(&listener, tls.as_ref(), 1).await?;
    show("one connection")?;
    drop(one);
    let before = memory("Anonymous:")?;
    let many = hold(&listener, tls.as_ref(), count).await?;
    show(&format!("{count} connections"))?;
    println!(
        "a connection: {:.1} KiB",
        (memory("Anonymous:")? - before) as f64 / count as f64
    );
    drop(many);
    show("all closed")
}

/// The processes at the other end, and the connections.
struct Held(
    Child,
    #[expect(dead_code, reason = "held, not used")] Vec<tokio::task::JoinHandle<()>>,
);

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Takes `count` connections, exchanges a word on each, and leaves each waiting for the next.
async fn hold(listener: &TcpListener, tls: Option<&ServerTls>, count: usize) -> io::Result<Held> {
    let kind = if tls.is_some() { "tls" } else { "plain" };
    // A copy, so that its pages are not shared with this process's.
    let copy = std::env::temp_dir().join(format!("postern-idle-{}", std::process::id()));
    std::fs::copy(std::env::current_exe()?, &copy)?;
    let mut child = Command::new(&copy)
        .args([
            kind,
            &listener.local_addr()?.to_string(),
            &count.to_string(),
        ])
        .stdin(Stdio::piped())
        .spawn()?;
    std::fs::remove_file(&copy)?;
    let mut tasks = Vec::with_capacity(count);
    let (ready, mut readies) = tokio::sync::mpsc::channel::<()>(1);
    for _ in 0..count {
        let (stream, _) = listener.accept().await?;
        let (tls, ready) = (tls.cloned(), ready.clone());
        tasks.push(tokio::spawn(async move {
            // Boxed, so that a plain connection does not pay for a TLS one's size.
            let _ = match tls {
                Some(tls) => Box::pin(handshake(tls, stream, ready)).await,
                None => idle(stream, ready).await,
            };
        }));
    }
    drop(ready);
    for _ in 0..count {
        readies
            .recv()
            .await
            .ok_or_else(|| io::Error::other("a connection was lost"))?;
    }
    if let Some(status) = child.try_wait()? {
        return Err(io::Error::other(format!("the clients ended: {status}")));
    }
    Ok(Held(child, tasks))
}

async fn handshake(
    tls: ServerTls,
    stream: TcpStream,
    ready: tokio::sync::mpsc::Sender<()>,
) -> io::Result<()> {
    let stream = Box::new(Box::pin(tls.accept(stream)).await?);
    Box::pin(idle(stream, ready)).await
}

/// A word, then silence. The buffer lives only while there is something in it.
async fn idle<S>(mut stream: S, ready: tokio::sync::mpsc::Sender<()>) -> io::Result<()>
where
    S: AsyncReadExt + AsyncWriteExt + Unpin,
{
    let mut word = [0; 1];
    stream.read_exact(&mut word).await?;
    stream.write_all(&word).await?;
    stream.flush().await?;
    let _ = ready.send(()).await;
    drop(ready);
    stream.read_exact(&mut word).await?;
    Ok(())
}

async fn connect(kind: &str, address: &str, count: usize) -> io::Result<()> {
    let tls = ClientTls::opportunistic();
    let mut held: Vec<Box<dyn std::any::Any>> = Vec::new();
    for _ in 0..count {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        held.push(if kind == "tls" {
            Box::new(word(tls.connect("mx.example.com", stream).await?).await?)
        } else {
            Box::new(word(stream).await?)
        });
    }
    // Until the server has had its look.
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

async fn word<S: AsyncReadExt + AsyncWriteExt + Unpin>(mut stream: S) -> io::Result<S> {
    stream.write_all(b".").await?;
    stream.flush().await?;
    stream.read_exact(&mut [0; 1]).await?;
    Ok(stream)
}

fn load() -> io::Result<ServerTls> {
    let read = |path: &str| {
        Ok::<_, io::Error>(PemFile {
            path: path.into(),
            text: std::fs::read(path)?,
        })
    };
    let (certificate, key) = (std::env::var("CERTIFICATE"), std::env::var("KEY"));
    let pair = match (certificate, key) {
        (Ok(certificate), Ok(key)) => PairFiles {
            certificate: read(&certificate)?,
            key: read(&key)?,
        },
        _ => return Err(io::Error::other("set CERTIFICATE and KEY to PEM files")),
    };
    ServerTls::new(&[pair], &ServerSettings::default(), SystemTime::now())
        .map_err(|errors| io::Error::other(format!("{errors:?}")))
}

fn show(what: &str) -> io::Result<()> {
    let kinds = ["Pss:", "Anonymous:", "Pss_File:"];
    let [all, anonymous, file] = kinds.map(memory);
    println!(
        "{what:20} PSS {:6} KiB: anonymous {:6}, files {:6}",
        all?, anonymous?, file?
    );
    Ok(())
}

/// A line of this process's memory, in KiB.
fn memory(kind: &str) -> io::Result<u64> {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup")?;
    let line = rollup.lines().find_map(|line| line.strip_prefix(kind));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| io::Error::other(format!("no {kind} in smaps_rollup")))
}
