//! What was found: a table for a person, JSON for whoever compares over time.

use crate::doors::Doors;
use crate::flood::Flooded;
use crate::idle::Idle;
use crate::logins::Logins;
use crate::rounds::{NullSample, SCENARIOS, Sample};
use crate::{Failure, postfix};
use std::path::Path;

/// All of it.
#[derive(serde::Serialize)]
pub(crate) struct Found {
    pub(crate) generator_alone: Vec<NullSample>,
    pub(crate) samples: Vec<Sample>,
    pub(crate) memory: Vec<Idle>,
    pub(crate) doors: Option<Doors>,
    pub(crate) logins: Option<Logins>,
    pub(crate) flood: Option<Flooded>,
}

pub(crate) fn print(found: &Found) {
    let Found {
        samples,
        memory: idles,
        ..
    } = found;
    println!("\nThe generator straight into the sink (nothing can be measured above this)");
    for (title, rate, cpu) in &found.generator_alone {
        println!(
            "  {title}: {rate:.0} messages/s, {cpu:.3} ms of the generator's processor time a message"
        );
    }
    println!(
        "\nMedians of the rounds; Postfix {}; rates in messages/s, processor time of the whole server in ms a message",
        postfix::version()
    );
    println!(
        "  {:53} {:>9} {:>9} {:>7} {:>8}   {:>7} {:>7} {:>7} {:>8}",
        "", "Postfix", "Postern", "ratio", "target", "Postfix", "Postern", "ratio", "target"
    );
    for scenario in &SCENARIOS {
        let of = |server: &str, figure: &dyn Fn(&Sample) -> f64| {
            median(
                samples
                    .iter()
                    .filter(|s| s.server == server && s.scenario == scenario.key)
                    .map(figure),
            )
        };
        let rate = |s: &Sample| {
            if scenario.end_to_end {
                s.relayed
            } else {
                s.accepted
            }
        };
        let (theirs, ours) = (of("Postfix", &rate), of("Postern", &rate));
        let (their_cpu, our_cpu) = (of("Postfix", &|s| s.cpu), of("Postern", &|s| s.cpu));
        if theirs.or(ours).is_none() {
            continue;
        }
        let faster = ratio(ours, theirs);
        let dearer = ratio(our_cpu, their_cpu);
        println!(
            "  {:53} {} {} {:>7} {:>8}   {} {} {:>7} {:>8}",
            format!("({}) {}", scenario.key, scenario.title),
            number(theirs),
            number(ours),
            faster.map_or("-".into(), |r| format!("{r:.2}x")),
            verdict(
                faster.map(|r| r >= scenario.rate_target),
                &format!("≥{}x", scenario.rate_target)
            ),
            milliseconds(their_cpu),
            milliseconds(our_cpu),
            dearer.map_or("-".into(), |r| format!("1/{:.1}", 1.0 / r)),
            scenario.cpu_target.map_or(String::new(), |t| verdict(
                dearer.map(|r| r <= t),
                &format!("≤1/{:.0}", 1.0 / t)
            ))
        );
        if let Some(growth) = median(
            samples
                .iter()
                .filter(|s| s.scenario == scenario.key)
                .filter_map(|s| s.growth)
                .map(|k| k as f64),
        ) {
            println!(
                "  {:53} {:>9} {growth:>7.0} K {:>7} {:>8}",
                "      worker memory growth meanwhile",
                "",
                "",
                verdict(Some(growth < 4096.0), "<4 MiB")
            );
        }
    }
    if !idles.is_empty() {
        println!("\nMemory");
    }
    for idle in idles {
        for figure in &idle.figures {
            println!(
                "  {:8} {:50} {:>9.1} KiB  {}",
                idle.server,
                figure.title,
                figure.kib,
                figure.target.map_or(String::new(), |t| verdict(
                    Some(figure.kib <= t),
                    &format!("≤{t} KiB")
                ))
            );
        }
    }
    found.doors.iter().for_each(print_doors);
    found.logins.iter().for_each(print_logins);
    found.flood.iter().for_each(print_flood);
    println!(
        "\n(✓ met, ✗ missed. Processor time: utime + stime of all the server's processes, ended children included, from /proc.)"
    );
}

fn print_doors(found: &Doors) {
    println!(
        "\n(g) Rules at the door: connections greeted a second, the worker's processor time for each"
    );
    let first = found.doors.first().map(|door| door.rate);
    for door in &found.doors {
        let share = ratio(Some(door.rate), first);
        println!(
            "  {:53} {:>9.0}/s {:>6.1} µs {:>7} {}",
            door.title,
            door.rate,
            door.micros,
            share.map_or("-".into(), |r| format!("{r:.2}x")),
            door.target.map_or(String::new(), |t| verdict(
                share.map(|r| r >= t),
                &format!("≥{t}x")
            ))
        );
    }
    println!(
        "  {:53} {:>9.3} s {:>18}",
        "a reload with 100,000 networks",
        found.reload,
        verdict(Some(found.reload < 1.0), "<1 s")
    );
}

fn print_logins(found: &Logins) {
    println!(
        "\n(h) Logins a second by PLAIN, argon2id of 19 MiB; processor time of the server for each\n  {:53} {:>11} {:>8} {:>11} {:>8}",
        "", "others each", "", "same again", ""
    );
    for way in &found.ways {
        println!(
            "  {:53} {:>9.1}/s {:>5.1} ms {:>9.1}/s {:>5.2} ms",
            way.title, way.cold.rate, way.cold.cpu, way.warm.rate, way.warm.cpu
        );
    }
    for share in &found.shares {
        println!(
            "  {:53} {:>10.2}x {}",
            share.title,
            share.value,
            verdict(
                Some(share.value >= share.target),
                &format!("≥{}x", share.target)
            )
        );
    }
    println!(
        "  worker's memory: {:.1} MiB (PSS) before, {:.1} at most during, {:.1} after   {}",
        found.before / 1024.0,
        found.during / 1024.0,
        found.after / 1024.0,
        verdict(
            Some(found.during <= found.during_target),
            &format!("≤{:.0} MiB", found.during_target / 1024.0)
        )
    );
}

fn print_flood(found: &Flooded) {
    println!(
        "\n(i) Established sessions, and {} connections that guess passwords ({:.0} answers/s, {:.0} % of them \"later\")",
        crate::flood::CONNECTIONS,
        found.answers,
        found.later * 100.0
    );
    for (title, one) in [("without the flood", &found.quiet), ("in it", &found.loud)] {
        println!("  {title:53} {:>9.0}/s {:>8.2} ms p99", one.rate, one.p99);
    }
    let kept = found.loud.rate / found.quiet.rate;
    println!(
        "  {:53} {kept:>10.2}x {}",
        "share kept",
        verdict(Some(kept >= found.target), &format!("≥{}x", found.target))
    );
    println!(
        "  {:53} {:>9.0} ms (alone {:.0} ms)",
        "a right password from another address, not known yet", found.honest, found.honest_alone
    );
}

fn verdict(met: Option<bool>, target: &str) -> String {
    match met {
        Some(true) => format!("{target} ✓"),
        Some(false) => format!("{target} ✗"),
        None => target.to_owned(),
    }
}

fn ratio(ours: Option<f64>, theirs: Option<f64>) -> Option<f64> {
    Some(ours? / theirs?)
}

fn number(value: Option<f64>) -> String {
    value.map_or(format!("{:>9}", "-"), |v| {
        if v < 100.0 {
            format!("{v:>9.1}")
        } else {
            format!("{v:>9.0}")
        }
    })
}

fn milliseconds(value: Option<f64>) -> String {
    value.map_or(format!("{:>7}", "-"), |v| format!("{v:>7.3}"))
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// `FOLDER/bench-SECONDS.json` and `FOLDER/latest.json`.
pub(crate) fn write(folder: &Path, found: &Found) -> Result<(), Failure> {
    let seconds = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)?
        .as_secs();
    let mut all = serde_json::to_value(found)?;
    all["time"] = seconds.into();
    all["postfix"] = postfix::version().into();
    let text = serde_json::to_string_pretty(&all)?;
    std::fs::write(folder.join(format!("bench-{seconds}.json")), &text)?;
    std::fs::write(folder.join("latest.json"), &text)?;
    println!("written to {}", folder.join("latest.json").display());
    Ok(())
}
