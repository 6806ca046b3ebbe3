//! Every dialogue in `tests/dialogues`, played on the pure core, its input cut in all ways.

use std::fs;
use std::path::{Path, PathBuf};

use postern_smtp::dialogue::{self, Dialogue};

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/dialogues");
    let entries =
        fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a folder that can be read").path())
        .filter(|path| path.extension().is_some_and(|end| end == "dialogue"))
        .collect();
    files.sort();
    files
}

#[test]
fn every_dialogue_goes_as_written() {
    let files = files();
    assert!(files.len() >= 60, "only {} dialogues found", files.len());
    let mut wrong = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("a text");
        let name = file.display();
        let played = Dialogue::parse(&text).and_then(|story| {
            [usize::MAX, 1, 2, 3, 7, 64]
                .into_iter()
                .try_for_each(|step| dialogue::play(&story, step))
        });
        wrong.extend(played.err().map(|mismatch| format!("{name}: {mismatch}")));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
