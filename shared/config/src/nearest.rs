//! The known word somebody probably meant.

/// The candidate nearest to `written`, if one is near: a third of its letters wrong at most, and at least one right.
pub(crate) fn nearest<'a>(
    written: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // Longer than any name of ours: not worth the table.
    if written.is_empty() || written.len() > 64 {
        return None;
    }
    let lower = written.to_lowercase();
    let (distance, best) = candidates
        .into_iter()
        .map(|name| (distance(&lower, &name.to_lowercase()), name))
        .min_by_key(|(far, _)| *far)?;
    let allowed = (best.chars().count().max(written.chars().count()) / 3).max(1);
    (distance <= allowed && distance < best.chars().count()).then_some(best)
}

/// How many letters to add, drop, change, or swap with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let width = b.len() + 1;
    let mut table = vec![0usize; (a.len() + 1) * width];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            table[i * width + j] = if i == 0 || j == 0 {
                i + j
            } else {
                let change = table[(i - 1) * width + j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let drop = table[(i - 1) * width + j] + 1;
                let add = table[i * width + j - 1] + 1;
                let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                let swap = if swapped {
                    table[(i - 2) * width + j - 2] + 1
                } else {
                    usize::MAX
                };
                change.min(drop).min(add).min(swap)
            };
        }
    }
    table.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word_and_nonsense_none() {
        let names = ["fqdn", "listen", "max_recipients", "max_errors"];
        for (written, meant) in [
            ("fqnd", Some("fqdn")),
            ("max-recipients", Some("max_recipients")),
            ("MAX_RECIPENTS", Some("max_recipients")),
            ("lisen", Some("listen")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, names), meant, "{written}");
        }
        assert_eq!(nearest(&"x".repeat(100_000), names), None);
    }
}
