//! What the resolver costs in memory, before and after its first question.
//!
//! `cargo run --release -p postern-dns --example memory SERVER:PORT NAME`

use std::io;

use postern_dns::{Lookup, Resolver};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(server), Some(name)) = (args.next(), args.next()) else {
        return Err("usage: memory SERVER:PORT NAME".into());
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let resolver = Resolver::with_servers(vec![server.parse()?]);
        println!("before the first question: {} KiB anonymous", anonymous()?);
        println!("{:?}", resolver.mx(&name).await);
        println!("after it:                  {} KiB anonymous", anonymous()?);
        for number in 0..1000 {
            let _ = resolver.mx(&format!("x{number}.{name}")).await;
        }
        println!("after a thousand more:     {} KiB anonymous", anonymous()?);
        Ok(())
    })
}

fn anonymous() -> io::Result<u64> {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup")?;
    let line = rollup
        .lines()
        .find_map(|line| line.strip_prefix("Anonymous:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| io::Error::other("smaps_rollup has no such line"))
}
