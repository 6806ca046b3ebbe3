//! `postern certificate new`, a self-signed certificate for a start, and `request`, a key and what an authority is sent.
//!
//! Never: a key or certificate overwritten without --force.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use clap::Args;
use rcgen::KeyPair;

use super::spot::{Spot, Which};
use super::{Places, swap};
use crate::ask;
use crate::certificates::{Draft, KeyKind, RsaBits, new_key};
use crate::failure::Error;
use crate::render;

/// Makes a self-signed certificate and its key, for a start.
///
/// Mail is encrypted with it, but clients that look will not trust it: see postern certificate request. On a terminal
/// what is not given is asked for.
#[derive(Args)]
pub(super) struct New {
    #[command(flatten)]
    which: Which,
    /// An RSA key of 2048, 3072 or 4096 bits, for clients that know no other; ECDSA P-256 without this.
    #[arg(long, value_name = "BITS")]
    rsa: Option<RsaBits>,
    /// For how many days it is good.
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: Option<u32>,
    /// Put it in place of the certificate that is there, which is kept as *.previous.
    #[arg(long)]
    force: bool,
}

/// Makes a key, and a request (PKCS#10) to send to an authority.
///
/// The certificate in use stays in use. The new key waits beside it until postern certificate assign brings the
/// authority's answer. On a terminal what is not given is asked for.
#[derive(Args)]
pub(super) struct Request {
    #[command(flatten)]
    which: Which,
    /// An RSA key of 2048, 3072 or 4096 bits; ECDSA P-256 without this.
    #[arg(long, value_name = "BITS", conflicts_with = "same_key")]
    rsa: Option<RsaBits>,
    /// Request for the key in use, so that TLSA records for it stay true.
    #[arg(long)]
    same_key: bool,
    /// Who you are, where the authority wants it in the request.
    #[arg(long, value_name = "TEXT")]
    organization: Option<String>,
    /// Your country, two letters.
    #[arg(long, value_name = "CC", value_parser = country)]
    country: Option<String>,
    /// Make another key and request though one is waiting.
    #[arg(long)]
    force: bool,
}

/// How long a self-signed certificate is good unless somebody says.
const DAYS: u32 = 365;

impl New {
    pub(super) fn run(&self, places: &Places, out: &mut dyn Write) -> Result<(), Error> {
        let mut spot = self.which.spot(places)?;
        swap::refuse_links(&spot)?;
        for path in [&spot.certificate, &spot.key] {
            if path.exists() && !self.force {
                return Err(there_already(path, "--force puts another in its place"));
            }
        }
        let asked = io::stdin().is_terminal();
        if asked {
            ask_names(&mut spot)?;
        }
        let kind = kind(self.rsa, asked)?;
        let days = match self.days {
            Some(days) => days,
            None if asked => ask::until("Good for how many days", &DAYS.to_string(), days)?,
            None => DAYS,
        };
        let draft = Draft {
            key: new_key(kind)?,
            names: spot.names.clone(),
            organization: None,
            country: None,
        };
        let certificate = draft.self_signed(days)?;
        let kept = swap::swap(&spot, &certificate, &draft.key.serialize_pem())?;
        writeln!(out, "wrote {}", spot.certificate.display())?;
        writeln!(
            out,
            "wrote {}, which only its owner may read",
            spot.key.display()
        )?;
        if kept {
            tell_kept(&spot, out)?;
        }
        let end = render::moment(render::now() + u64::from(days) * 86_400);
        writeln!(
            out,
            "it is for {}, until {}",
            spot.names.join(", "),
            &end[..10]
        )?;
        spot.tell_rest(places, out)
    }
}

impl Request {
    pub(super) fn run(&self, places: &Places, out: &mut dyn Write) -> Result<(), Error> {
        let mut spot = self.which.spot(places)?;
        let pending = spot.pending();
        if pending.exists() && !self.force && !self.same_key {
            let hint = "assign its certificate, or give --force to make another, whose request is another too";
            return Err(there_already(&pending, hint));
        }
        let asked = io::stdin().is_terminal();
        if asked {
            ask_names(&mut spot)?;
        }
        let key = match self.same_key {
            true => key_in_use(&spot.key)?,
            false => new_key(kind(self.rsa, asked)?)?,
        };
        let draft = Draft {
            key,
            names: spot.names.clone(),
            organization: self.organization.clone(),
            country: self.country.clone(),
        };
        let request = draft.request()?;
        if !self.same_key {
            swap::write_secret(&pending, &draft.key.serialize_pem())?;
            writeln!(out, "wrote {}, the key that waits", pending.display())?;
        }
        swap::write_public(&spot.request(), &request)?;
        writeln!(
            out,
            "wrote {}, the request, for {}",
            spot.request().display(),
            spot.names.join(", ")
        )?;
        writeln!(out, "  send the request to an authority; then")?;
        writeln!(
            out,
            "  postern certificate assign {} FILE…   takes its answer",
            spot.server
        )?;
        Ok(())
    }
}

fn key_in_use(path: &Path) -> Result<KeyPair, Error> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })?;
    KeyPair::from_pem(&text).map_err(|_| Error::Refused {
        subject: path.display().to_string(),
        reason: "it holds no private key that can sign a request; leave --same-key out".to_owned(),
        findings: Vec::new(),
    })
}

/// Further names, which a person may not have thought of yet.
fn ask_names(spot: &mut Spot) -> Result<(), Error> {
    if spot.names.len() > 1 {
        return Ok(());
    }
    let question = format!(
        "Names besides {} (several with spaces between, or empty)",
        spot.names.join(", ")
    );
    let more = ask::until(&question, "", |answer| {
        let words = answer.split([' ', ',']).filter(|word| !word.is_empty());
        let names: Vec<String> = words.map(str::to_ascii_lowercase).collect();
        super::spot::refuse_wild(&names).map_err(|error| error.to_string())?;
        Ok(names)
    })?;
    let fresh = more.into_iter().filter(|name| !spot.names.contains(name));
    let fresh: Vec<String> = fresh.collect();
    spot.names.extend(fresh);
    Ok(())
}

fn kind(rsa: Option<RsaBits>, asked: bool) -> Result<KeyKind, Error> {
    match rsa {
        Some(bits) => Ok(KeyKind::Rsa(bits)),
        None if asked => ask::until("Key: ecdsa, or rsa for old clients", "ecdsa", str::parse),
        None => Ok(KeyKind::Ecdsa),
    }
}

fn days(answer: &str) -> Result<u32, String> {
    let days = answer.parse().ok();
    days.filter(|days| (1..=3650).contains(days))
        .ok_or_else(|| "write a number from 1 to 3650".to_owned())
}

fn country(text: &str) -> Result<String, String> {
    match text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        true => Ok(text.to_ascii_uppercase()),
        false => Err("write two letters, such as DE".to_owned()),
    }
}

fn there_already(path: &Path, hint: &str) -> Error {
    Error::Refused {
        subject: path.display().to_string(),
        reason: format!("it is there already; {hint}"),
        findings: Vec::new(),
    }
}

pub(super) fn tell_kept(spot: &Spot, out: &mut dyn Write) -> Result<(), Error> {
    Ok(writeln!(
        out,
        "the pair before is kept as {} and {}",
        swap::previous(&spot.certificate).display(),
        swap::previous(&spot.key).display()
    )?)
}
