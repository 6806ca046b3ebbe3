//! Who imports whom: what `cargo` says against `[workspace.metadata.floors]`, and root's whole dependency list against a
//! written one.

use postern_tests::{Failure, Outcome};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(1)
        .map(Path::to_owned)
        .unwrap_or_default()
}

fn cargo(words: &[&str]) -> Result<String, Failure> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let output = command.args(words).current_dir(workspace()).output()?;
    postern_tests::program::succeed(output)
}

/// What is written in Cargo.toml.
struct Floors {
    /// Package → its floor, 0 to 6.
    floor: BTreeMap<String, usize>,
    imports: BTreeMap<String, BTreeSet<String>>,
    pure: BTreeSet<String>,
    doors: BTreeMap<String, BTreeSet<String>>,
}

/// A package of the workspace, with what it imports for other than its own tests.
struct Package {
    name: String,
    folder: PathBuf,
    imports: BTreeSet<String>,
}

fn read() -> Result<(Floors, Vec<Package>), Failure> {
    let all: Value =
        serde_json::from_str(&cargo(&["metadata", "--no-deps", "--format-version", "1"])?)?;
    let table = &all["metadata"]["floors"];
    let mut floor = BTreeMap::new();
    for (number, name) in [
        "pure", "disk", "doors", "policy", "network", "programs", "tests",
    ]
    .iter()
    .enumerate()
    {
        floor.extend(
            names(&table[*name])
                .into_iter()
                .map(|package| (package, number)),
        );
    }
    let map = |value: &Value| -> BTreeMap<String, BTreeSet<String>> {
        let pairs = value.as_object().into_iter().flatten();
        pairs
            .map(|(key, value)| (key.clone(), names(value)))
            .collect()
    };
    let floors = Floors {
        floor,
        imports: map(&table["imports"]),
        pure: names(&table["outside"]["pure"]),
        doors: map(&table["outside"]["doors"]),
    };
    let packages = all["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .map(package)
        .collect();
    Ok((floors, packages))
}

fn package(value: &Value) -> Package {
    let dependencies = value["dependencies"].as_array().into_iter().flatten();
    let imports = dependencies
        .filter(|d| d["kind"].as_str() != Some("dev"))
        .filter_map(|d| d["name"].as_str());
    let manifest = Path::new(value["manifest_path"].as_str().unwrap_or_default());
    Package {
        name: value["name"].as_str().unwrap_or_default().to_owned(),
        folder: manifest.parent().unwrap_or(manifest).to_owned(),
        imports: imports.map(str::to_owned).collect(),
    }
}

fn names(value: &Value) -> BTreeSet<String> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|name| Some(name.as_str()?.to_owned()))
        .collect()
}

#[test]
fn nobody_imports_what_the_floors_do_not_allow() -> Outcome {
    let (floors, packages) = read()?;
    let mut wrong = Vec::new();
    for package in &packages {
        let name = &package.name;
        let Some(&floor) = floors.floor.get(name) else {
            wrong.push(format!("{name} stands on no floor of Cargo.toml"));
            continue;
        };
        for import in &package.imports {
            let inside = floors.floor.get(import);
            let allowed = floors
                .imports
                .get(name)
                .is_some_and(|set| set.contains(import));
            if inside.is_some_and(|&below| below >= floor) {
                wrong.push(format!(
                    "{name} imports {import}, which does not stand below it"
                ));
            }
            if inside.is_some() && !allowed && floor < 6 {
                wrong.push(format!(
                    "{name} imports {import}, which Cargo.toml does not allow it"
                ));
            }
            if inside.is_none() && floor == 0 && !floors.pure.contains(import) {
                wrong.push(format!("{name} is pure and imports {import}"));
            }
            if floor < 6
                && floors
                    .doors
                    .get(import)
                    .is_some_and(|set| !set.contains(name))
            {
                wrong.push(format!("{name} imports {import}, to which it is no door"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn what_may_leave_the_house_does_not_hold_on_to_it() -> Outcome {
    let (floors, packages) = read()?;
    // Programs are the house.
    let programs = floors.floor["postern-cli"];
    let inside = |folder: &str| -> BTreeSet<&str> {
        let of = packages
            .iter()
            .filter(|p| p.folder.starts_with(workspace().join(folder)));
        of.map(|p| p.name.as_str())
            .filter(|&name| floors.floor.get(name) != Some(&programs))
            .collect()
    };
    let shared = inside("shared");
    for package in packages
        .iter()
        .filter(|p| inside("crates").contains(p.name.as_str()))
    {
        let held: Vec<&String> = package
            .imports
            .iter()
            .filter(|i| shared.contains(i.as_str()))
            .collect();
        assert!(
            held.is_empty(),
            "{} lies in crates/ and imports {held:?} from shared/",
            package.name
        );
    }
    Ok(())
}

#[test]
fn root_contains_what_is_written_and_nothing_else() -> Outcome {
    let tree = cargo(&[
        "tree",
        "--offline",
        "-p",
        "posternd",
        "-e",
        "normal,no-proc-macro",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ])?;
    let found: BTreeSet<&str> = tree
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let path = workspace().join("tests/golden/posternd-dependencies.txt");
    let text = std::fs::read_to_string(&path)?;
    let written: BTreeSet<&str> = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .collect();
    let more: Vec<_> = found.difference(&written).collect();
    let fewer: Vec<_> = written.difference(&found).collect();
    assert!(
        more.is_empty() && fewer.is_empty(),
        "posternd runs as root. It links {more:?} beyond {}, and no longer {fewer:?}: say in the commit why",
        path.display()
    );
    for never in [
        "tokio",
        "rustls",
        "hickory-resolver",
        "hyper",
        "postern-smtp",
        "postern-config",
        "postern-access",
    ] {
        assert!(!found.contains(never), "root must never contain {never}");
    }
    Ok(())
}

#[test]
fn posternd_stays_small() -> Outcome {
    let mut lines = 0;
    for entry in std::fs::read_dir(workspace().join("supervisor/src"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "rs") {
            let text = std::fs::read_to_string(path)?;
            // Tests at the bottom of a file are not what root runs; nor are comments, which should not be dear.
            let program = text.split("#[cfg(test)]\nmod tests {").next();
            let lines_of = program.unwrap_or_default().lines().map(str::trim_start);
            lines += lines_of
                .filter(|line| !line.is_empty() && !line.starts_with("//"))
                .count();
        }
    }
    assert!(
        lines <= 2300,
        "posternd has {lines} lines of code; root's program has 2,300 at most"
    );
    Ok(())
}
