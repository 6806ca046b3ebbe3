//! Prints the findings of a definition: `cargo run -p postern-config --example findings -- FILE`.

fn main() -> std::io::Result<()> {
    for path in std::env::args().skip(1) {
        let text = std::fs::read_to_string(&path)?;
        let started = std::time::Instant::now();
        let (definition, findings) = postern_config::load(&text, path.as_ref());
        let took = started.elapsed();
        for finding in &findings {
            println!("{finding}");
        }
        println!(
            "{path}: {} in {took:?}",
            if definition.is_some() { "good" } else { "bad" }
        );
    }
    Ok(())
}
