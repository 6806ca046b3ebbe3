//! `postern certificate show`: what is in use, until when, and what is wrong with it.
//!
//! Never: a key shown; an error for a file that only root may read.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use postern_hosting::ServerName;
use postern_tls::PemFile;
use postern_tls::certs::{self, Description, Fault, Key, Measure, Roots, judge};
use serde::Serialize;

use super::Places;
use super::spot::{self, Spot};
use crate::failure::{Error, plain};
use crate::render::{self, Tone};

/// Shows the certificates of servers: names, issuer, dates, key, chain, and what is wrong.
#[derive(Args)]
pub(super) struct Show {
    /// Only these servers.
    #[arg(value_name = "SERVER")]
    servers: Vec<ServerName>,
    /// Write JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// A pair, as it is.
#[derive(Serialize)]
struct Shown {
    server: ServerName,
    certificate: PathBuf,
    key: PathBuf,
    /// Whether the definition names it.
    defined: bool,
    #[serde(flatten)]
    own: Option<Own>,
    /// Who issued it, and who issued that, as far as they are in the file.
    chain: Vec<Link>,
    /// `None`: the key is not known here.
    key_fits: Option<bool>,
    /// A key that waits for its certificate.
    pending: Option<PathBuf>,
    faults: Vec<Wrong>,
}

/// What the server's own certificate says.
#[derive(Serialize)]
struct Own {
    names: Vec<String>,
    issuer: String,
    self_signed: bool,
    not_before: u64,
    not_after: u64,
    /// Negative where it is over.
    days_left: i64,
    key_kind: String,
    sha256: String,
}

#[derive(Serialize)]
struct Link {
    subject: String,
    not_after: u64,
}

#[derive(Serialize)]
struct Wrong {
    what: String,
    remedy: String,
}

impl Show {
    pub(super) fn run(&self, places: &Places, out: &mut dyn Write) -> Result<(), Error> {
        let servers = match self.servers.as_slice() {
            [] => all_servers(&places.servers())?,
            named => named.to_vec(),
        };
        let roots = Roots::of_system();
        let mut shown = Vec::new();
        for server in &servers {
            match spot::all(server, places) {
                Ok(spots) => shown.extend(look_at(&spots, &roots)),
                // Of all servers, one that has mistakes does not hide the others.
                Err(error) if self.servers.is_empty() => {
                    let colours = render::colours(&io::stderr());
                    writeln!(io::stderr(), "{}", render::error(&error, colours))?;
                }
                Err(error) => return Err(error),
            }
        }
        if self.json {
            return render::json(out, &shown);
        }
        if shown.is_empty() {
            let name = servers
                .first()
                .map_or("SERVER".to_owned(), ToString::to_string);
            return Ok(writeln!(
                out,
                "no certificates; postern certificate new {name} makes a first one"
            )?);
        }
        for (place, one) in shown.iter().enumerate() {
            if place > 0 {
                writeln!(out)?;
            }
            one.write(out)?;
        }
        Ok(())
    }
}

/// The pairs of one server.
fn look_at(spots: &[Spot], roots: &Roots) -> Vec<Shown> {
    let now = render::now();
    let mut shown: Vec<Shown> = spots.iter().map(|spot| look(spot, roots, now)).collect();
    // One of them has the server's name, or none has.
    let known: Option<Vec<Description>> =
        spots.iter().map(|spot| leaf(&spot.certificate)).collect();
    if let (Some(known), Some(fqdn)) = (known, spots.first().and_then(|spot| spot.names.first()))
        && !known.iter().any(|one| one.covers(fqdn))
        && let (Some(first), Some(own)) = (shown.first_mut(), known.first())
    {
        let fault = Fault::NotNamed {
            host: fqdn.clone(),
            names: own.names.clone(),
        };
        first.faults.push(Wrong::of(&fault));
    }
    shown
}

fn leaf(path: &Path) -> Option<Description> {
    let text = std::fs::read(path).ok()?;
    let chain = certs::certificates_in(&text);
    Description::of(chain.first()?)
}

fn look(spot: &Spot, roots: &Roots, now: u64) -> Shown {
    let mut faults = Vec::new();
    let chain =
        read(&spot.certificate).and_then(|file| certs::certificates(&file).map_err(Wrong::error));
    let chain = chain
        .map_err(|wrong| faults.push(wrong))
        .unwrap_or_default();
    let key = read(&spot.key).and_then(|file| Key::from_pem(&file).map_err(Wrong::error));
    let key = key.map_err(|wrong| faults.push(wrong)).ok();
    let measure = Measure {
        names: &[],
        now,
        roots,
    };
    faults.extend(judge(&chain, key.as_ref(), measure).iter().map(Wrong::of));
    let mut described = chain.iter().filter_map(|der| Description::of(der));
    let own = described.next().map(|own| Own::of(own, now));
    let fits = |key: &Key| chain.first().map(|own| key.fits(own));
    let pending = spot.pending();
    Shown {
        server: spot.server.clone(),
        certificate: spot.certificate.clone(),
        key: spot.key.clone(),
        defined: spot.is_defined,
        own,
        chain: described
            .map(|link| Link {
                subject: link.subject,
                not_after: link.not_after,
            })
            .collect(),
        key_fits: key.as_ref().and_then(fits),
        pending: pending.exists().then_some(pending),
        faults,
    }
}

fn read(path: &Path) -> Result<PemFile, Wrong> {
    let text = std::fs::read(path).map_err(|cause| Wrong {
        what: format!("{} cannot be read: {}", path.display(), plain(&cause)),
        remedy: match cause.kind() {
            io::ErrorKind::PermissionDenied => "use sudo to have it looked at".to_owned(),
            _ => "put it there, or correct the path".to_owned(),
        },
    })?;
    Ok(PemFile {
        path: path.to_owned(),
        text,
    })
}

impl Wrong {
    fn of(fault: &Fault) -> Wrong {
        Wrong {
            what: fault.to_string(),
            remedy: fault.remedy(),
        }
    }

    fn error(error: postern_tls::Error) -> Wrong {
        Wrong {
            what: error.to_string(),
            remedy: error.remedy(),
        }
    }
}

impl Own {
    fn of(own: Description, now: u64) -> Own {
        let left = i128::from(own.not_after) - i128::from(now);
        Own {
            names: own.names,
            issuer: own.issuer,
            self_signed: own.is_root,
            not_before: own.not_before,
            not_after: own.not_after,
            days_left: i64::try_from(left.div_euclid(86_400)).unwrap_or(i64::MAX),
            key_kind: own.key.to_string(),
            sha256: own.fingerprint,
        }
    }

    /// `2026-11-24 to 2027-02-22 (89 days left)`.
    fn dates(&self) -> String {
        let day = |moment| render::moment(moment)[..10].to_owned();
        let left = match self.days_left {
            days @ ..0 => format!("over for {} days", -days),
            0 => "less than a day left".to_owned(),
            1 => "1 day left".to_owned(),
            days => format!("{days} days left"),
        };
        let (begin, end) = (day(self.not_before), day(self.not_after));
        format!("{begin} to {end} ({left})")
    }
}

impl Shown {
    fn write(&self, out: &mut dyn Write) -> Result<(), Error> {
        let colours = render::colours(&io::stdout());
        let title = format!("{}: {}", self.server, self.certificate.display());
        writeln!(out, "{}", render::toned(&title, Tone::Strong, colours))?;
        for (what, text) in self.lines() {
            writeln!(out, "  {what:<11} {}", render::printable(&text))?;
        }
        for wrong in &self.faults {
            let mark = render::toned("wrong", Tone::Bad, colours);
            writeln!(out, "  {mark}       {}", render::printable(&wrong.what))?;
            writeln!(out, "              {}", render::printable(&wrong.remedy))?;
        }
        Ok(())
    }

    fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = Vec::new();
        if let Some(own) = &self.own {
            let issuer = match own.self_signed {
                true => "itself: clients that look will not trust it".to_owned(),
                false => own.issuer.clone(),
            };
            lines.push(("names", own.names.join(", ")));
            lines.push(("issued by", issuer));
            lines.push(("valid", own.dates()));
            lines.push(("key", self.key_line(own)));
            lines.push(("SHA-256", own.sha256.clone()));
        }
        let chain = self.chain.iter().map(|link| link.subject.as_str());
        let chain: Vec<&str> = chain.collect();
        if !chain.is_empty() {
            lines.push(("chain", chain.join(" < ")));
        }
        if let Some(pending) = &self.pending {
            lines.push((
                "waiting",
                format!("{} for its certificate", pending.display()),
            ));
        }
        if !self.defined {
            lines.push(("not in use", "the definition does not name it".to_owned()));
        }
        lines
    }

    fn key_line(&self, own: &Own) -> String {
        let fits = match self.key_fits {
            Some(true) => "which fits",
            Some(false) => "which does not fit",
            None => "which was not looked at",
        };
        format!("{}, {}, {fits}", own.key_kind, self.key.display())
    }
}

/// The certificates that a server's definition names, and when each ends; whatever cannot be read is left out.
pub(crate) fn ends(server: &ServerName, places: &Places) -> Vec<(PathBuf, u64)> {
    let spots = spot::all(server, places).unwrap_or_default();
    let used = spots.into_iter().filter(|spot| spot.is_defined);
    used.filter_map(|spot| {
        let chain = certs::certificates_in(&std::fs::read(&spot.certificate).ok()?);
        let end = chain
            .iter()
            .filter_map(|der| Some(Description::of(der)?.not_after))
            .min()?;
        Some((spot.certificate, end))
    })
    .collect()
}

fn all_servers(folder: &Path) -> Result<Vec<ServerName>, Error> {
    let tell = |source| Error::Read {
        path: folder.to_owned(),
        source,
    };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(tell)? {
        let path = entry.map_err(tell)?.path();
        let is_definition = path
            .extension()
            .is_some_and(|extension| extension == "toml");
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        names.extend(
            stem.filter(|_| is_definition)
                .and_then(|stem| stem.parse().ok()),
        );
    }
    names.sort();
    Ok(names)
}
