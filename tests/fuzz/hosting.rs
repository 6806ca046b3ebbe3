//! What root reads of a definition, and of postern.toml, as functions over bytes.

use std::path::Path;

use postern_hosting::{Finding, HostSettings, Hosting};

/// A definition is accepted, or refused with findings that point into it.
pub(crate) fn definition(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match Hosting::from_toml(&text, Path::new("servers/mx1.toml")) {
        Ok(hosting) => {
            assert_eq!(hosting.listen.len(), hosting.listen_places.len());
            assert!(
                hosting
                    .listen
                    .iter()
                    .all(|identity| identity.address.port() != 0)
            );
            let clash = |(at, one): (usize, &postern_hosting::Identity)| {
                hosting.listen[..at]
                    .iter()
                    .any(|other| other.clashes_with(one))
            };
            assert!(!hosting.listen.iter().enumerate().any(clash));
        }
        Err(findings) => look_at(&text, &findings),
    }
}

/// The settings are accepted, or refused with findings that point into them.
pub(crate) fn settings(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match HostSettings::from_toml(&text, Path::new("postern.toml")) {
        Ok(settings) => assert!(settings.uids.start >= 1000 && !settings.uids.is_empty()),
        Err(findings) => look_at(&text, &findings),
    }
}

fn look_at(text: &str, findings: &[Finding]) {
    assert!(!findings.is_empty(), "refused for no reason");
    for place in findings.iter().filter_map(|finding| finding.place) {
        assert!(place.start <= place.end && place.end <= text.len());
        let line = text.split('\n').nth(place.line as usize - 1);
        let columns = line.map_or(0, |line| line.chars().count());
        assert!(
            line.is_some() && (place.column as usize) <= columns + 1,
            "{place:?}"
        );
    }
}
