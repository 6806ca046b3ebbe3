//! Where a server's certificate and key are, or shall be, and what stands beside them.
//!
//! | file | is |
//! |---|---|
//! | `certificate.pem`, `key.pem` | the pair, under the names the definition gives it |
//! | `key.pending.pem`, `certificate.request.pem` | a key that waits for its certificate, and the request for that |
//! | `certificate.pem.previous`, `key.pem.previous` | the pair before |
//!
//! Never: opens any of them.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use postern_config::Definition;
use postern_hosting::{Hosting, ServerName};

use super::Places;
use crate::failure::Error;

/// Which pair of which server, and the names it is for.
#[derive(Args)]
pub(super) struct Which {
    /// The server.
    pub(super) server: ServerName,
    /// Which of the definition's pairs, the first being 1. The first is for the server's fqdn, the others are for --name.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    pair: u8,
    /// A name it is for, besides the server's fqdn; an address; *.example.com for all names right below.
    #[arg(long = "name", value_name = "HOST")]
    names: Vec<String>,
}

/// A pair's place.
#[derive(Debug)]
pub(super) struct Spot {
    pub(super) server: ServerName,
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    /// The names its certificate must have, at least one.
    pub(super) names: Vec<String>,
    /// Whether the definition names it.
    pub(super) is_defined: bool,
}

impl Which {
    /// The place that the server's definition gives the pair, or the usual one.
    pub(super) fn spot(&self, places: &Places) -> Result<Spot, Error> {
        let path = places.servers().join(format!("{}.toml", self.server));
        let definition = match definition(&path) {
            // A certificate may be there before the definition that names it.
            Err(Error::Read { source, .. })
                if source.kind() == io::ErrorKind::NotFound && !self.names.is_empty() =>
            {
                None
            }
            other => Some(other?),
        };
        let spot = self.place(definition.as_ref(), &path, places)?;
        refuse_wild(&spot.names)?;
        Ok(spot)
    }

    fn place(
        &self,
        definition: Option<&Definition>,
        path: &Path,
        places: &Places,
    ) -> Result<Spot, Error> {
        let pairs = definition.map_or(&[][..], |one| &one.tls.certificates);
        let wanted = usize::from(self.pair) - 1;
        if wanted > pairs.len() {
            return Err(Error::Usage {
                what: format!(
                    "{} names {} pairs, so that {} is none of them",
                    path.display(),
                    pairs.len(),
                    self.pair
                ),
                remedy: format!("give --pair {} for one more", pairs.len() + 1),
            });
        }
        let fqdn = definition
            .filter(|_| wanted == 0)
            .map(|one| &one.general.fqdn);
        let mut names: Vec<String> = Vec::new();
        for name in fqdn.into_iter().chain(&self.names) {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            if !names.contains(&name) {
                names.push(name);
            }
        }
        if names.is_empty() {
            return Err(Error::Usage {
                what: "it is not said which names the certificate is for".to_owned(),
                remedy: "give them with --name HOST; only the first pair is for the fqdn"
                    .to_owned(),
            });
        }
        let (certificate, key) = match pairs.get(wanted) {
            Some(pair) => (
                Hosting::locate(path, &pair.certificate),
                Hosting::locate(path, &pair.key),
            ),
            None => usual(places, &self.server, self.pair),
        };
        Ok(Spot {
            server: self.server.clone(),
            certificate: tidy(certificate),
            key: tidy(key),
            names,
            is_defined: pairs.get(wanted).is_some(),
        })
    }
}

/// All pairs that a server's definition names; as long as it names none, the usual one, if it is there.
pub(super) fn all(server: &ServerName, places: &Places) -> Result<Vec<Spot>, Error> {
    let path = places.servers().join(format!("{server}.toml"));
    let definition = definition(&path)?;
    let spot = |(certificate, key), is_defined| Spot {
        server: server.clone(),
        certificate: tidy(certificate),
        key: tidy(key),
        names: vec![definition.general.fqdn.clone()],
        is_defined,
    };
    let located = |written: &Path| Hosting::locate(&path, written);
    let pairs = definition.tls.certificates.iter();
    let mut spots: Vec<Spot> = pairs
        .map(|pair| spot((located(&pair.certificate), located(&pair.key)), true))
        .collect();
    if spots.is_empty() {
        let usual = spot(usual(places, server, 1), false);
        let is_there = usual.certificate.exists() || usual.pending().exists();
        spots.extend(is_there.then_some(usual));
    }
    Ok(spots)
}

/// A definition, as far as it can be read.
pub(super) fn definition(path: &Path) -> Result<Definition, Error> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })?;
    let (definition, findings) = postern_config::load(&text, path);
    definition.ok_or_else(|| Error::Broken {
        path: path.to_owned(),
        findings,
    })
}

/// `CONFIG/certificates/SERVER/{certificate,key}.pem`; with a number behind it for further pairs.
fn usual(places: &Places, server: &ServerName, pair: u8) -> (PathBuf, PathBuf) {
    let folder = places.config.join("certificates").join(server.to_string());
    let number = match pair {
        1 => String::new(),
        pair => format!("-{pair}"),
    };
    (
        folder.join(format!("certificate{number}.pem")),
        folder.join(format!("key{number}.pem")),
    )
}

impl Spot {
    /// The key that waits for its certificate.
    pub(super) fn pending(&self) -> PathBuf {
        with_word(&self.key, "pending")
    }

    /// The request that was made for it.
    pub(super) fn request(&self) -> PathBuf {
        with_word(&self.certificate, "request")
    }

    /// The lines for the definition, where it does not name the pair yet.
    pub(super) fn lines(&self, places: &Places) -> Option<String> {
        if self.is_defined {
            return None;
        }
        // As seen from the folder of definitions, so that a copied /etc/postern still works.
        let written = |path: &Path| match path.strip_prefix(&places.config) {
            Ok(below) => format!("../{}", below.display()),
            Err(_) => path.display().to_string(),
        };
        Some(format!(
            "[access.tls]\ncertificates = [\n    {{ certificate = \"{}\", key = \"{}\" }},\n]\n",
            written(&self.certificate),
            written(&self.key),
        ))
    }

    /// What is left to do, said to the person.
    pub(super) fn tell_rest(&self, places: &Places, out: &mut dyn io::Write) -> Result<(), Error> {
        let Some(lines) = self.lines(places) else {
            return Ok(writeln!(
                out,
                "{} uses it within some 5 seconds, if it is running",
                self.server
            )?);
        };
        let definition = places.servers().join(format!("{}.toml", self.server));
        writeln!(out, "{} does not name it yet; write", definition.display())?;
        writeln!(out, "\n{lines}\nand then: postern reload {}", self.server)?;
        Ok(())
    }
}

/// `key.pem` as `key.WORD.pem`.
fn with_word(path: &Path, word: &str) -> PathBuf {
    match path.extension() {
        Some(extension) => path.with_extension(format!("{word}.{}", extension.to_string_lossy())),
        None => path.with_extension(word),
    }
}

/// RFC 9525 §6.3: `*` stands for the whole of the first label, and not for what is right below a top-level domain.
pub(super) fn refuse_wild(names: &[String]) -> Result<(), Error> {
    let wrong = names.iter().find(|name| {
        let rest = name.strip_prefix("*.").unwrap_or(name);
        let wild = rest.len() < name.len();
        let label = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        name.parse::<std::net::IpAddr>().is_err()
            && (!rest.split('.').all(label) || (wild && !rest.contains('.')))
    });
    match wrong {
        None => Ok(()),
        Some(name) => Err(Error::Usage {
            what: format!("{name} is no name of a host"),
            remedy: "write mail.example.com, *.example.com or an address; names with other letters as xn--…".to_owned(),
        }),
    }
}

/// The path without `..` in it, as far as its folder is there.
fn tidy(path: PathBuf) -> PathBuf {
    let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
    match (folder, path.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => path,
    }
}
