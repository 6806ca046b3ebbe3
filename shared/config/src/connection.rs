//! `[access.connection]`: who may connect.

use ipnet::IpNet;
use postern_access::{ConnectionRule, Entry, EntryError, EntryKind, List, Mode, Origin};

use crate::fields::Fields;
use crate::reader::{Node, Reader};
use crate::values::{self, Misfit, clip};

/// One list and one mode.
#[derive(Clone, Debug, PartialEq)]
pub struct ListRule {
    /// What the list means.
    pub mode: Mode,
    /// Its entries, each with its line.
    pub list: Vec<Entry>,
}

impl Default for ListRule {
    /// Everybody may connect.
    fn default() -> ListRule {
        ListRule {
            mode: Mode::AllExcept,
            list: Vec::new(),
        }
    }
}

impl ListRule {
    /// The rule, ready to decide.
    pub fn rule(&self) -> ConnectionRule {
        ConnectionRule::new(self.mode, List::new(&self.list))
    }
}

impl ListRule {
    pub(crate) fn read(fields: &mut Fields<'_, '_, '_>) -> ListRule {
        let mut rule = ListRule::default();
        fields.set(&mut rule.mode, "mode", mode);
        fields.set(&mut rule.list, "list", entries);
        rule
    }
}

pub(crate) fn mode<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<Mode> {
    reader.word(
        node,
        &[Mode::Only, Mode::AllExcept].map(|mode| (mode.as_str(), mode)),
    )
}

/// The entries of a list. Names are read, but a rule this build would not keep must not seem kept.
pub(crate) fn entries<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<Vec<Entry>> {
    const EXAMPLE: &str = "\"192.0.2.7\", \"192.0.2.0/24\", \"host NAME\" or \"domain NAME\"";
    reader.list(
        node,
        "[\"192.0.2.7\", \"198.51.100.0/24\"]",
        |reader, member| {
            let entry = entry(reader, member, EXAMPLE)?;
            if matches!(entry.kind, EntryKind::Host(_) | EntryKind::Domain(_)) {
                let what = "`host` and `domain` entries are not yet honoured by this build";
                reader.error(
                    member.span(),
                    what,
                    "write the addresses or networks instead",
                );
            }
            Some(entry)
        },
    )
}

/// One entry.
pub(crate) fn entry<'t>(reader: &mut Reader<'t>, node: &Node<'t>, example: &str) -> Option<Entry> {
    let origin = Origin::new(0, reader.line(node.span().start));
    reader.parsed(node, example, |text| {
        Entry::parse(text, origin).map_err(|error| {
            let remedy = match &error {
                EntryError::HostBits(network) => host_bits_remedy(text, *network),
                EntryError::BadMask => "write a prefix length as in 192.0.2.0/24, or a mask as in 192.0.2.0/255.255.255.0".to_owned(),
                EntryError::BadName => "write a name in the DNS, as in \"domain example.com\"".to_owned(),
                EntryError::Unreadable if values::is_host_name(text) => {
                    "write its address: this build does not look names up for lists yet".to_owned()
                }
                EntryError::Unreadable => format!("write {example}"),
            };
            Misfit::new(format!("`{}`: {error}", clip(text)), remedy)
        })
    })
}

/// Either the network was meant, or the one computer.
fn host_bits_remedy(text: &str, network: IpNet) -> String {
    match text.split_once('/') {
        Some((address, _)) => format!(
            "write \"{network}\", or \"{}\" for that one computer",
            clip(address)
        ),
        None => format!("write \"{network}\""),
    }
}
