//! What belongs to the host: `postern.toml`.

use std::ops::Range;
use std::path::Path;

use toml::de::DeTable;

use crate::Finding;
use crate::read::Reader;

/// The settings of the host. All are optional; a host without the file has the defaults.
///
/// ```toml
/// control_group = "postern"     # who may use the control socket, besides root
/// uids = "64000-64999"          # each server gets one of these for itself
/// log = "info"                  # error, warn, info, debug or trace
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSettings {
    /// The group whose members may use the control socket.
    pub control_group: Option<String>,
    /// The uids given to servers, one each and never to another.
    pub uids: Range<u32>,
    /// How much the diagnostic log says: `error`, `warn`, `info`, `debug` or `trace`.
    pub log: String,
}

impl Default for HostSettings {
    fn default() -> HostSettings {
        HostSettings {
            control_group: None,
            uids: HostSettings::UIDS,
            log: "info".to_owned(),
        }
    }
}

impl HostSettings {
    /// The uids used if the file does not say.
    pub const UIDS: Range<u32> = 64_000..65_000;

    /// Reads the text of `postern.toml`. All errors are returned, not only the first.
    pub fn from_toml(text: &str, path: &Path) -> Result<HostSettings, Vec<Finding>> {
        let mut reader = Reader::new(text, path);
        let settings = reader.parse().map(|root| read(&mut reader, &root));
        match settings {
            Some(settings) if reader.findings.is_empty() => Ok(settings),
            _ => Err(reader.findings),
        }
    }
}

fn read<'t>(reader: &mut Reader<'t>, root: &DeTable<'t>) -> HostSettings {
    const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];
    reader.only(root, &["control_group", "uids", "log"]);
    HostSettings {
        control_group: reader.text(root, "control_group", "write the name of a group", |name| {
            (!name.is_empty()).then(|| name.to_owned())
        }),
        uids: reader
            .text(
                root,
                "uids",
                "write a range without root and nobody, such as \"64000-64999\"",
                uids,
            )
            .unwrap_or(HostSettings::UIDS),
        log: reader
            .text(
                root,
                "log",
                "write error, warn, info, debug or trace",
                |level| LEVELS.contains(&level).then(|| level.to_owned()),
            )
            .unwrap_or_else(|| "info".to_owned()),
    }
}

/// `"FIRST-LAST"`, both included. System users (below 1000), nobody and the two reserved ids are never given away.
fn uids(text: &str) -> Option<Range<u32>> {
    const NOBODY: u32 = 65_534;
    let (first, last) = text.split_once('-')?;
    let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    let range = first..last.checked_add(1)?;
    let reserved = [NOBODY, 65_535, u32::MAX - 1]
        .iter()
        .any(|id| range.contains(id));
    (first >= 1000 && !range.is_empty() && !reserved).then_some(range)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_example_is_read_and_the_empty_file_is_the_default() {
        let path = Path::new("postern.toml");
        assert_eq!(
            HostSettings::from_toml("", path),
            Ok(HostSettings::default())
        );
        let text = "control_group = \"postern\"\nuids = \"2000-2000\"\nlog = \"debug\"\n";
        let read = HostSettings::from_toml(text, path).unwrap();
        assert_eq!(
            (read.control_group.as_deref(), read.uids, read.log.as_str()),
            (Some("postern"), 2000..2001, "debug")
        );
    }

    #[test]
    fn ids_that_belong_to_others_are_refused() {
        for bad in [
            "0-10",
            "999-2000",
            "60000-65534",
            "3000-2000",
            "2000",
            "a-b",
            "70000-4294967294",
        ] {
            let text = format!("uids = \"{bad}\"");
            assert_eq!(
                HostSettings::from_toml(&text, Path::new("p"))
                    .unwrap_err()
                    .len(),
                1,
                "{bad}"
            );
        }
    }

    #[test]
    fn every_error_is_found() {
        let findings =
            HostSettings::from_toml("control = 1\nlog = \"loud\"\nuids = 3\n", Path::new("p"))
                .unwrap_err();
        let lines: Vec<u32> = findings
            .iter()
            .filter_map(|finding| finding.place)
            .map(|place| place.line)
            .collect();
        assert_eq!(lines.len(), 3);
        for line in 1..=3 {
            assert!(lines.contains(&line));
        }
    }
}
