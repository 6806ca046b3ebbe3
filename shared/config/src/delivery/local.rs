//! How local domains, their recipients and their aliases are read.

use std::collections::{HashMap, HashSet};

use postern_access::Origin;
use toml::de::{DeTable, DeValue};

use super::{Aliases, LocalDomain, Recipients};
use crate::reader::{Node, Reader};
use crate::target::Target;
use crate::values::{Misfit, clip, is_domain};

const DOMAIN: &str = "{ name = \"example.com\", to = \"maildir:/var/mail/{domain}/{local}\" }";

pub(super) fn domains<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<Vec<LocalDomain>> {
    let mut known: HashMap<String, u32> = HashMap::new();
    reader.list(node, &format!("[{DOMAIN}]"), |reader, member| {
        let domain = local_domain(reader, member)?;
        if let Some(line) = known.insert(domain.name.clone(), domain.origin.line()) {
            let what = format!(
                "the domain {} is here twice (first in line {line})",
                domain.name
            );
            reader.error(member.span(), what, "keep one of the two");
        }
        Some(domain)
    })
}

fn local_domain<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<LocalDomain> {
    let table = reader.table(node, &["name", "to", "recipients", "aliases"], DOMAIN)?;
    let mut required = |name: &str| {
        let written = table.get(name);
        if written.is_none() {
            reader.error(
                node.span(),
                format!("a local domain without `{name}`"),
                format!("write {DOMAIN}"),
            );
        }
        written
    };
    let (name, to) = (required("name"), required("to"));
    let name = name.and_then(|name| reader.domain(name));
    let to = to
        .and_then(|to| reader.parsed(to, "\"maildir:/var/mail/{domain}/{local}\"", Target::parse));
    let listed = table
        .get("recipients")
        .map(|node| (node, recipients(reader, node)));
    let aliases = match table.get("aliases") {
        Some(aliases_node) => aliases(reader, aliases_node)?,
        None => Aliases::new(),
    };
    let recipients = match listed {
        Some((_, recipients)) => recipients?,
        None => Recipients::Any,
    };
    if let Recipients::Listed(names) = &recipients {
        expect_alias_targets(reader, table, names, &aliases, name.as_deref());
    }
    let origin = Origin::new(0, reader.line(node.span().start));
    Some(LocalDomain {
        name: name?,
        to: to?,
        recipients,
        aliases,
        origin,
    })
}

fn recipients<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<Recipients> {
    const EXAMPLE: &str = "[\"alice\", \"bob\"] or the path of a file with one a line";
    match node.get_ref() {
        DeValue::Array(_) => {
            let names = reader.list(node, EXAMPLE, local_part)?;
            if names.is_empty() {
                reader.warn(
                    node.span(),
                    "nobody is in this domain",
                    "list its recipients, or remove `recipients` to take all",
                );
            }
            Some(Recipients::Listed(names))
        }
        DeValue::Table(_) => {
            let table = reader.table(node, &["ldap"], EXAMPLE)?;
            if table.is_empty() {
                reader.error(
                    node.span(),
                    "recipients of no source",
                    format!("write {EXAMPLE}"),
                );
            } else {
                reader.not_yet(
                    node.span(),
                    "recipients from LDAP",
                    format!("write {EXAMPLE}"),
                );
            }
            Some(Recipients::Ldap)
        }
        _ => match reader.text(node, EXAMPLE)? {
            "lmtp" => {
                let remedy = format!(
                    "write {EXAMPLE}, or remove it: whom the LMTP server refuses gets a report"
                );
                reader.not_yet(node.span(), "asking the LMTP server for recipients", remedy);
                Some(Recipients::Lmtp)
            }
            // The supervisor, which opens the file, knows a path by the same signs.
            path if path.contains(['/', '.']) => Some(Recipients::File(path.into())),
            other => {
                reader.error(
                    node.span(),
                    format!("`{}` is not a path", clip(other)),
                    format!("write {EXAMPLE}"),
                );
                None
            }
        },
    }
}

/// A local part in lower case; of an address of the domain itself only the local part is kept.
fn local_part<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<String> {
    reader.parsed(node, "a local part in quotes, such as \"alice\"", |text| {
        if let Some((local, _)) = text.split_once('@') {
            let remedy = format!("write \"{}\": the domain is this one", clip(local));
            return Err(Misfit::new(
                format!("`{}` is a whole address", clip(text)),
                remedy,
            ));
        }
        match text.is_empty() || text.contains(char::is_whitespace) || text.len() > 64 {
            true => Err(Misfit::new(
                format!("`{}` is not a local part", clip(text)),
                "write what stands before the @, such as \"alice\"",
            )),
            false => Ok(text.to_lowercase()),
        }
    })
}

fn aliases<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<Aliases> {
    const EXAMPLE: &str = "{ postmaster = \"alice\", sales = [\"alice\", \"bob@example.net\"] }";
    let Some(table) = node.get_ref().as_table() else {
        reader.error(
            node.span(),
            "aliases are a table",
            format!("write {EXAMPLE}"),
        );
        return None;
    };
    let mut read = Aliases::new();
    for (key, value) in table {
        let name = key.get_ref();
        if name.is_empty() || name.contains(['@', ' ']) || name.len() > 64 {
            reader.error(
                key.span(),
                format!("`{}` is not a local part", clip(name)),
                "write what stands before the @",
            );
            continue;
        }
        let targets = match value.get_ref() {
            DeValue::Array(_) => reader.list(value, EXAMPLE, alias_target)?,
            _ => alias_target(reader, value).into_iter().collect(),
        };
        if value
            .get_ref()
            .as_array()
            .is_some_and(|list| list.is_empty())
        {
            reader.error(
                value.span(),
                "an alias for nobody would lose mail",
                format!("write {EXAMPLE}, or remove it"),
            );
        }
        if read.insert(name.to_lowercase(), targets).is_some() {
            reader.error(
                key.span(),
                format!("the alias `{}` is here twice", clip(name)),
                "keep one of the two; case does not matter",
            );
        }
    }
    expect_no_circle(reader, node, &read);
    Some(read)
}

fn alias_target<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<String> {
    reader.parsed(node, "a local part or an address in quotes", |text| {
        let (local, domain) = match text.rsplit_once('@') {
            Some((local, domain)) => (local, Some(domain)),
            None => (text, None),
        };
        let fits = !local.is_empty()
            && !local.contains(char::is_whitespace)
            && domain.is_none_or(is_domain);
        match (fits, domain) {
            (true, None) => Ok(local.to_lowercase()),
            (true, Some(domain)) => Ok(format!("{local}@{}", domain.to_lowercase())),
            (false, _) => Err(Misfit::new(
                format!("`{}` is neither a local part nor an address", clip(text)),
                "write \"alice\" or \"alice@example.net\"",
            )),
        }
    })
}

/// An alias that leads back to itself through others of this domain would never arrive.
fn expect_no_circle<'t>(reader: &mut Reader<'t>, node: &Node<'t>, aliases: &Aliases) {
    // Every name from which some chain ends: taken away until nothing more ends. What is left goes in a circle.
    let mut left: HashMap<&str, &Vec<String>> = aliases
        .iter()
        .map(|(name, targets)| (name.as_str(), targets))
        .collect();
    loop {
        // To itself beside others is a copy kept here, and ends.
        let ends: Vec<&str> = left
            .iter()
            .filter(|(name, targets)| {
                targets
                    .iter()
                    .all(|target| target == *name || !left.contains_key(target.as_str()))
            })
            .map(|(name, _)| *name)
            .collect();
        if ends.is_empty() {
            break;
        }
        for name in ends {
            left.remove(name);
        }
    }
    let mut names: Vec<&str> = left.into_keys().collect();
    names.sort_unstable();
    if let Some(first) = names.first() {
        let what = format!(
            "the alias `{}` leads back to itself ({})",
            clip(first),
            clip(&names.join(", "))
        );
        reader.error(node.span(), what, "let one of them lead to a recipient");
    }
}

/// An alias for a local part that is neither listed nor an alias itself.
fn expect_alias_targets<'t>(
    reader: &mut Reader<'t>,
    table: &DeTable<'t>,
    names: &[String],
    aliases: &Aliases,
    domain: Option<&str>,
) {
    let Some(node) = table.get("aliases") else {
        return;
    };
    let known: HashSet<&str> = names
        .iter()
        .chain(aliases.keys())
        .map(String::as_str)
        .collect();
    for (alias, targets) in aliases {
        for target in targets {
            let local = match target.rsplit_once('@') {
                Some((local, at)) if Some(at) == domain => local.to_lowercase(),
                Some(_) => continue,
                None => target.clone(),
            };
            if !known.contains(local.as_str()) {
                let what = format!(
                    "the alias `{}` leads to `{}`, who is not in `recipients`",
                    clip(alias),
                    clip(target)
                );
                reader.error(
                    node.span(),
                    what,
                    "add the recipient, or lead the alias elsewhere",
                );
            }
        }
    }
}
