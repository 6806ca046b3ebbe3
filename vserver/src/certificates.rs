//! How long the certificates in force are still good for: shown by `status` from 21 days on, and in the log as 21, 7 and 1
//! days are left, and none.
//!
//! Never: a server that stops for it; clients decide what an expired certificate is to them.

use std::time::{Duration, SystemTime};

use postern_tls::CertificateFacts;

const DAY: Duration = Duration::from_secs(24 * 3600);
const STEPS: [Duration; 4] = [
    Duration::from_secs(21 * 24 * 3600),
    Duration::from_secs(7 * 24 * 3600),
    DAY,
    Duration::ZERO,
];

/// What has been said of them.
#[derive(Debug, Default)]
pub(crate) struct Endings {
    told: Option<(SystemTime, usize)>,
}

impl Endings {
    /// What is to be known now of the certificate that ends first, or nothing; and whether it is to be said in the log.
    pub(crate) fn look<'a>(
        &mut self,
        certificates: impl Iterator<Item = &'a CertificateFacts>,
        now: SystemTime,
    ) -> (String, bool) {
        let Some(first) = certificates.min_by_key(|certificate| certificate.not_after) else {
            return (String::new(), false);
        };
        let left = first.remaining(now);
        let step = STEPS.iter().filter(|step| left <= **step).count();
        let before = self.told.replace((first.not_after, step));
        if step == 0 {
            return (String::new(), false);
        }
        let new = before.is_none_or(|(end, told)| end != first.not_after || told < step);
        (said(first, left), new)
    }
}

fn said(certificate: &CertificateFacts, left: Duration) -> String {
    let path = certificate.path.display();
    match left.as_secs().div_ceil(DAY.as_secs()) {
        0 => format!("the certificate {path} has expired"),
        1 => format!("the certificate {path} expires within a day"),
        days => format!("the certificate {path} expires within {days} days"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    fn ending(days: u64) -> CertificateFacts {
        CertificateFacts {
            path: "mx.pem".into(),
            names: Vec::new(),
            not_before: UNIX_EPOCH,
            not_after: UNIX_EPOCH + DAY * u32::try_from(days).expect("few"),
        }
    }

    #[test]
    fn it_is_said_once_a_step_and_shown_throughout() {
        let certificates = [ending(90), ending(30)];
        let mut endings = Endings::default();
        let mut look = |hours: u64| {
            let now = UNIX_EPOCH + Duration::from_secs(hours * 3600);
            let (said, new) = endings.look(certificates.iter(), now);
            let short = said
                .strip_prefix("the certificate mx.pem ")
                .map(str::to_owned);
            (short.unwrap_or_default(), new)
        };
        for (hours, said, new) in [
            (0, "", false),
            (8 * 24, "", false),
            (9 * 24, "expires within 21 days", true),
            (9 * 24 + 1, "expires within 21 days", false),
            (12 * 24, "expires within 18 days", false),
            (23 * 24 + 2, "expires within 7 days", true),
            (29 * 24 + 3, "expires within a day", true),
            (30 * 24, "has expired", true),
            (40 * 24, "has expired", false),
        ] {
            assert_eq!(look(hours), (said.to_owned(), new), "after {hours} h");
        }
        // A renewed one has nothing to say, and another one of its own.
        let now = UNIX_EPOCH + DAY * 40;
        assert_eq!(
            endings.look([ending(90)].iter(), now),
            (String::new(), false)
        );
        assert!(endings.look([ending(45)].iter(), now).1);
        assert_eq!(endings.look([].iter(), now), (String::new(), false));
    }
}
