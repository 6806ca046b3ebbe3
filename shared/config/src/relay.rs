//! `[access.relay]`: who may send on to foreign domains.

use postern_access::{Entry, Mode, Origin};

use crate::connection::{entries, mode};
use crate::fields::Fields;
use crate::reader::{Node, Reader};
use crate::settings::Section;
use crate::values::clip;

/// The section's settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Relay {
    /// What the list means.
    pub mode: Mode,
    /// Who may relay without logging in.
    pub list: Vec<Entry>,
    /// Clients that log in may relay whatever the list says.
    pub authenticated: bool,
    /// Foreign domains mail is always taken for, in lower case, each with its line.
    pub domains: Vec<(String, Origin)>,
    /// A definition that would relay for everyone is meant.
    pub allow_everyone: bool,
}

impl Default for Relay {
    fn default() -> Relay {
        Relay {
            mode: Mode::Only,
            list: Vec::new(),
            authenticated: true,
            domains: Vec::new(),
            allow_everyone: false,
        }
    }
}

impl Relay {
    pub(crate) fn read(fields: &mut Fields<'_, '_, '_>) -> Relay {
        let mut relay = Relay::default();
        fields.set(&mut relay.mode, "mode", mode);
        fields.set(&mut relay.list, "list", |reader, node| {
            entries(reader, Section::Relay, node)
        });
        fields.set(&mut relay.authenticated, "authenticated", Reader::truth);
        fields.set(&mut relay.domains, "domains", |reader, node| {
            reader.list(node, "[\"branch.example.net\"]", |reader, member| {
                let origin = Origin::new(0, reader.line(member.span().start));
                Some((whole_domain(reader, member)?, origin))
            })
        });
        fields.set(&mut relay.allow_everyone, "allow_everyone", Reader::truth);
        relay
    }
}

/// A domain; a pattern would take mail for domains nobody has written down.
fn whole_domain<'t>(reader: &mut Reader<'t>, node: &Node<'t>) -> Option<String> {
    let pattern = node
        .get_ref()
        .as_str()
        .filter(|text| text.contains('*'))
        .map(clip);
    if let Some(pattern) = pattern {
        let what = format!("`{pattern}`: relay domains match whole, and none stands for others");
        let remedy = "write each domain; who may send to all domains stands in `list`, or logs in";
        reader.error(node.span(), what, remedy);
        return None;
    }
    reader.domain(node)
}
