//! The examination as a whole: reachable at all, then check by check, within its time.
//!
//! Never: many connections at once, but where the limit of connections is what is looked at.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::checks::Check;
use crate::expected::{Expected, Pace, Target};
use crate::finding::Finding;
use crate::inspection::Inspection;
use crate::report::Report;
use crate::wire::Fault;

/// Looks at the server at `target`, and tells each line as it is found.
///
/// # Errors
///
/// The fault of the first connection, where there is none: nothing can be tested then.
pub async fn verify(
    target: Target,
    expected: &Expected,
    checks: &[Check],
    pace: Pace,
    tell: &mut dyn FnMut(&Finding),
) -> Result<Report, Fault> {
    let begin = Instant::now();
    let mut inspection = Inspection::new(target, expected, pace, tell);
    let first = inspection.connect_from(target.source).await?;
    first.close().await;
    for check in checks {
        let left = deadline(begin, pace.whole);
        if timeout_at(left, check.run(&mut inspection)).await.is_err() || Instant::now() >= left {
            inspection.begin(check.name());
            inspection.find(Finding::untested(
                "what was left to test",
                format!("all was to be done within {} s", pace.whole.as_secs()),
            ));
            break;
        }
    }
    Ok(Report {
        address: target.address,
        relay_proved: inspection.relay_proved,
        findings: inspection.findings,
        connections: inspection.tapes.len(),
        wrong_passwords: inspection.wrong_passwords,
        recordings: inspection.tapes.iter().map(|tape| tape.now()).collect(),
    })
}

fn deadline(begin: Instant, whole: Duration) -> Instant {
    begin.checked_add(whole).unwrap_or(begin)
}
