//! What a definition leads one to expect of DNS.
//!
//! | fact | from |
//! |---|---|
//! | name, domains | the definition, as A-labels |
//! | addresses | `--address`; else the identities on port 25, or all; a wildcard stands for the host's own public ones |
//! | certificates | the files it names, as far as this user may read them |
//!
//! Never: a question to anybody.

use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use postern_config::Definition;
use postern_dns::lookup;
use postern_hosting::Hosting;
use postern_verify::dns::{Certificates, Facts, is_public};

use super::{CheckDns, why};
use crate::failure::Error;
use crate::render::{self, Sources};

/// Files are read up to here: certificates and roots are far smaller.
const LONGEST_FILE: u64 = 4 * 1024 * 1024;

/// Reads a definition; where it has errors, they are shown and the command ends.
pub(super) fn load(path: &Path, out: &mut dyn Write) -> Result<Definition, Error> {
    let text = String::from_utf8(read(path)?)
        .map_err(|_| Error::Failed(format!("{} is not UTF-8", path.display())))?;
    let (definition, findings) = postern_config::load(&text, path);
    if let Some(definition) = definition {
        return Ok(definition);
    }
    let (mut sources, colours) = (Sources::default(), render::colours(&io::stdout()));
    for one in &findings {
        writeln!(out, "{}\n", render::finding(one, &mut sources, colours))?;
    }
    Err(Error::SaidUnreadable)
}

/// A file, as a whole but not endlessly.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    read_file(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?
        .take(LONGEST_FILE)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// All facts of a definition, and of the command line.
pub(super) fn gather(
    options: &CheckDns,
    definition: &Definition,
    path: &Path,
) -> Result<Facts, Error> {
    let domains = &definition.delivery.domains;
    let mut local: Vec<String> = Vec::new();
    for name in domains
        .iter()
        .map(|domain| &domain.name)
        .chain(&options.domain)
    {
        let name = ascii(name)?;
        if !local.contains(&name) {
            local.push(name);
        }
    }
    for selector in &options.selector {
        ascii(selector)?;
    }
    // A pattern such as *.example.com is no name to ask for.
    let relayed = definition
        .relay
        .domains
        .iter()
        .filter_map(|(name, _)| ascii(name).ok());
    Ok(Facts {
        fqdn: ascii(&definition.general.fqdn)?,
        addresses: addresses(options, definition),
        relayed: relayed.filter(|name| !local.contains(name)).collect(),
        selectors: options.selector.clone(),
        certificates: certificates(definition, path),
        local,
    })
}

/// A name as DNS has it.
fn ascii(name: &str) -> Result<String, Error> {
    match lookup::ascii(name) {
        Ok(name) => Ok(name.into_owned()),
        Err(error) => Err(Error::Usage {
            what: error.to_string(),
            remedy: "write it as example.com".to_owned(),
        }),
    }
}

fn addresses(options: &CheckDns, definition: &Definition) -> Vec<IpAddr> {
    if !options.address.is_empty() {
        return options.address.clone();
    }
    let listen = &definition.general.listen;
    let mail: Vec<IpAddr> = listen
        .iter()
        .filter(|one| one.address.port() == 25)
        .map(|one| one.address.ip())
        .collect();
    let chosen = match mail.is_empty() {
        true => listen.iter().map(|one| one.address.ip()).collect(),
        false => mail,
    };
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in chosen.into_iter().flat_map(expand) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    // An identity for programs on this host only is none that DNS should know.
    if addresses.iter().any(|address| !address.is_loopback()) {
        addresses.retain(|address| !address.is_loopback());
    }
    addresses
}

/// A wildcard is every public address of this host; `[::]` takes IPv4 too.
fn expand(address: IpAddr) -> Vec<IpAddr> {
    let address = address.to_canonical();
    if !address.is_unspecified() {
        return vec![address];
    }
    let mut own = own_addresses();
    own.retain(|one| one.is_ipv4() || address.is_ipv6());
    own
}

fn own_addresses() -> Vec<IpAddr> {
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    let address = |interface: nix::ifaddrs::InterfaceAddress| {
        let address = interface.address?;
        let four = address.as_sockaddr_in().map(|four| IpAddr::V4(four.ip()));
        four.or_else(|| address.as_sockaddr_in6().map(|six| IpAddr::V6(six.ip())))
    };
    interfaces
        .filter_map(address)
        .filter(|address| is_public(*address))
        .collect()
}

fn certificates(definition: &Definition, path: &Path) -> Certificates {
    let read = |pair: &postern_config::CertificatePair| -> Result<(PathBuf, Vec<u8>), String> {
        let located = Hosting::locate(path, &pair.certificate);
        let bytes = read_file(&located).map_err(|cause| why(&located, &cause))?;
        Ok((located, bytes))
    };
    Certificates::of(definition.tls.certificates.iter().map(read))
}
