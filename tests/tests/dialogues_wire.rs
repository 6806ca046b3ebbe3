//! Every dialogue of `tests/dialogues`, played against a real worker. The same files are played on the pure core by
//! crates/smtp.

use postern_smtp::dialogue::Dialogue;
use postern_tests::definition::{Definition, text};
use postern_tests::stage::{Stage, private};
use postern_tests::{Failure, Outcome, play, wait};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The account that the dialogues log in with: `alice`, password `secret`.
const ACCOUNTS: &str = r#"[accounts."alice"]
password = "$argon2id$v=19$m=8,t=1,p=1$YWxpY2VhbGljZWFsaWNlMg$cQ/olOL8zrng5Fy01jttHesUAUC3noDhjvY6Kh3RkCI"
addresses = ["alice@example.net"]
groups = []
"#;

fn stories() -> Result<Vec<(String, Dialogue)>, Failure> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("dialogues");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "dialogue"));
    files.sort();
    let read = |path: PathBuf| -> Result<_, Failure> {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let story = Dialogue::parse(&std::fs::read_to_string(&path)?)
            .map_err(|error| format!("{name}: {error}"))?;
        Ok((name, story))
    };
    files.into_iter().map(read).collect()
}

/// One server for each set of settings that some dialogue wants, all on one stage.
#[test]
fn every_dialogue_goes_as_written_on_a_wire() -> Outcome {
    let mut stage = Stage::new()?;
    let accounts = stage.path("etc/dialogues.toml");
    private(&accounts, ACCOUNTS)?;
    let domains = format!(
        "[{{ name = \"example.com\", to = {}, recipients = [\"anyone\", \"someone\"] }}]",
        text(&format!(
            "maildir:{}/{{local}}",
            stage.path("mail").display()
        ))
    );
    let mut servers: BTreeMap<Vec<(String, String)>, (String, SocketAddr)> = BTreeMap::new();
    let (mut played, mut wrong) = (Vec::new(), Vec::new());
    for (name, story) in stories()? {
        if story.core_only.is_some() {
            continue;
        }
        if !servers.contains_key(&story.settings) {
            let server = format!("d{}", servers.len());
            let address = wait::free_address()?;
            let common = Definition::open_relay("mx.example.com", address)
                .relay("list", "[]")
                .certificate(&stage.certificate(), &stage.key())
                .accounts(&accounts)
                .delivery("domains", &domains);
            match play::define(common, &story, address) {
                Ok(definition) => stage.define(&server, &definition)?,
                Err(why) => {
                    wrong.push(format!("{name}: {why}: `@ core: REASON` is missing"));
                    continue;
                }
            }
            servers.insert(story.settings.clone(), (server, address));
        }
        played.push((name, story));
    }
    let names: Vec<&str> = servers.values().map(|(name, _)| name.as_str()).collect();
    stage.start_with(&names)?;
    for (name, story) in &played {
        let Some((_, address)) = servers.get(&story.settings) else {
            continue;
        };
        wrong.extend(
            play::play(story, *address, &stage.certificate())
                .err()
                .map(|error| format!("{name}: {error}")),
        );
    }
    println!("{} dialogues played on the wire", played.len());
    assert!(
        played.len() >= 20,
        "only {} dialogues can be played on a wire",
        played.len()
    );
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    Ok(())
}
