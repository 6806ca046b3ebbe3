//! Keeping lists within a packet.

use postern_hosting::{Finding, Severity};
use serde::Serialize;

/// Room for the rest of the packet around a list.
const AROUND: usize = 8 * 1024;

/// As many of `rows`, from the first, as fit a packet; `true` if some were left out.
pub fn bounded<T: Serialize>(mut rows: Vec<T>) -> (Vec<T>, bool) {
    let mut room = crate::LONGEST - AROUND;
    let fitting = rows.iter().take_while(|row| {
        let size = serde_json::to_vec(row).map_or(usize::MAX, |json| json.len().saturating_add(1));
        let fits = size <= room;
        room = room.saturating_sub(size);
        fits
    });
    let count = fitting.count();
    let cut = count < rows.len();
    rows.truncate(count);
    (rows, cut)
}

/// As many findings as fit a packet, made plain; the last one says how many were left out.
pub fn bounded_findings(findings: Vec<Finding>) -> Vec<Finding> {
    let findings: Vec<Finding> = findings.into_iter().map(Finding::plain).collect();
    let all = findings.len();
    let Some(path) = findings.first().map(|finding| finding.path.clone()) else {
        return findings;
    };
    let (mut kept, cut) = bounded(findings);
    if cut {
        let what = format!("{} more findings are not shown", all - kept.len());
        kept.push(
            Finding::error(&path, what, "mend the ones above first").with_severity(Severity::Note),
        );
    }
    kept
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use std::path::Path;

    #[test]
    fn a_long_list_is_cut_and_says_so() {
        let finding = Finding::error(Path::new("servers/a.toml"), "x".repeat(500), "y");
        assert_eq!(bounded_findings(vec![finding.clone(); 3]).len(), 3);
        let cut = bounded_findings(vec![finding; 1000]);
        assert!(cut.len() > 50 && cut.len() < 200);
        let left = 1000 - (cut.len() - 1);
        assert_eq!(
            cut.last().unwrap().what,
            format!("{left} more findings are not shown")
        );
        assert!(serde_json::to_vec(&cut).unwrap().len() < crate::LONGEST);
        assert!(bounded_findings(Vec::new()).is_empty());
    }

    #[test]
    fn a_row_that_never_fits_is_left_out() {
        let (rows, cut) = bounded(vec!["z".repeat(crate::LONGEST)]);
        assert!(rows.is_empty() && cut);
    }
}
