//! A commented definition for `postern new`.
//!
//! Every setting stands in it, in the order of the property sheet: what was answered as a line in force, all else as a
//! comment with its default. The words come from `settings.rs`.

use std::path::PathBuf;

use postern_hosting::{Identity, TlsMode};

use crate::settings::{SETTINGS, Section, Setting};

/// What `postern new` was told.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// `description`.
    pub description: Option<String>,
    /// `fqdn`.
    pub fqdn: String,
    /// `listen`.
    pub listen: Vec<Identity>,
    /// `anonymous`: a gateway that takes mail from everywhere for its own domains.
    pub anonymous: bool,
    /// The certificate chain and its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// The account file.
    pub accounts: Option<PathBuf>,
    /// Networks that may relay without logging in.
    pub relay_list: Vec<String>,
    /// The local domains.
    pub domains: Vec<NewDomain>,
    /// Smart hosts.
    pub smart_host: Vec<String>,
}

/// A local domain for `postern new`.
#[derive(Clone, Debug)]
pub struct NewDomain {
    /// Its name.
    pub name: String,
    /// Where its mail goes: `maildir:…`, `lmtp:…` or `smtp:…`.
    pub to: String,
    /// Who is there; `None`: everyone is taken.
    pub recipients: Option<Vec<String>>,
}

/// The text of a new definition: what was answered, and every other setting as a comment with its default.
pub fn new_definition(answers: &Answers) -> String {
    let mut text = String::from(
        "# The definition of one SMTP virtual server. Its name is this file's name.\n\
         #\n\
         # A line that begins with # is a comment. Where a default is shown, it is in force without the line.\n\
         # Sizes are written \"25 MB\" or \"64 KiB\", times \"10m\", \"12h\", \"2d\", networks \"192.0.2.0/24\".\n\
         # `postern check` reads this file and says what is wrong; `postern reload` puts it in force.\n",
    );
    for section in Section::ALL {
        text.push_str(&format!("\n# {}\n[{}]\n", section.about(), section.name()));
        for setting in SETTINGS.iter().filter(|setting| setting.section == section) {
            text.push('\n');
            write_setting(&mut text, setting, answered(setting, answers));
        }
    }
    text
}

fn write_setting(text: &mut String, setting: &Setting, answer: Option<String>) {
    let later = if setting.done {
        ""
    } else {
        " Not in this build yet."
    };
    comment(text, &format!("{}{later}", setting.about));
    if let Some(example) = setting
        .example
        .filter(|_| setting.default.is_some() && answer.is_none())
    {
        comment(text, &format!("Written as: {example}"));
    }
    match (answer, setting.default, setting.example) {
        (Some(value), _, _) => text.push_str(&format!("{} = {value}\n", setting.name)),
        (None, Some(default), _) => text.push_str(&format!("# {} = {default}\n", setting.name)),
        (None, None, example) => {
            comment(text, "Without a default; written as:");
            text.push_str(&format!(
                "# {} = {}\n",
                setting.name,
                example.unwrap_or_default()
            ));
        }
    }
}

/// A comment in lines of 100 characters at most, broken at spaces; what has none stays whole.
fn comment(text: &mut String, words: &str) {
    let mut width = 0;
    for word in words.split(' ') {
        let letters = word.chars().count();
        if width > 0 && width + 1 + letters > 100 {
            text.push('\n');
            width = 0;
        }
        text.push_str(if width == 0 { "# " } else { " " });
        text.push_str(word);
        width += letters + if width == 0 { 2 } else { 1 };
    }
    text.push('\n');
}

fn answered(setting: &Setting, answers: &Answers) -> Option<String> {
    match (setting.section, setting.name) {
        (Section::General, "description") => answers.description.as_deref().map(quote),
        (Section::General, "fqdn") => Some(quote(&answers.fqdn)),
        (Section::General, "listen") => Some(list(answers.listen.iter().map(identity))),
        (Section::Authentication, "anonymous") => answers.anonymous.then(|| "true".to_owned()),
        (Section::Authentication, "accounts") => answers
            .accounts
            .as_ref()
            .map(|path| format!("[{{ file = {} }}]", quote(&path.to_string_lossy()))),
        (Section::Tls, "certificates") => answers.certificate.as_ref().map(|(certificate, key)| {
            let (certificate, key) = (
                quote(&certificate.to_string_lossy()),
                quote(&key.to_string_lossy()),
            );
            format!("[{{ certificate = {certificate}, key = {key} }}]")
        }),
        (Section::Relay, "list") => some_list(&answers.relay_list, |entry| quote(entry)),
        (Section::Delivery, "domains") => some_list(&answers.domains, domain),
        (Section::Delivery, "smart_host") => some_list(&answers.smart_host, |host| quote(host)),
        _ => None,
    }
}

fn identity(identity: &Identity) -> String {
    let address = quote(&identity.address.to_string());
    match identity.tls {
        TlsMode::Starttls => address,
        other => format!("{{ address = {address}, tls = {} }}", quote(other.as_str())),
    }
}

fn domain(domain: &NewDomain) -> String {
    let mut text = format!(
        "{{ name = {}, to = {}",
        quote(&domain.name),
        quote(&domain.to)
    );
    if let Some(recipients) = &domain.recipients {
        text.push_str(&format!(
            ", recipients = {}",
            list(recipients.iter().map(|name| quote(name)))
        ));
    }
    text.push_str(" }");
    text
}

fn some_list<T>(items: &[T], write: impl Fn(&T) -> String) -> Option<String> {
    (!items.is_empty()).then(|| list(items.iter().map(write)))
}

/// One item in brackets on its line; several each on their own.
fn list(items: impl ExactSizeIterator<Item = String>) -> String {
    if items.len() < 2 {
        return format!("[{}]", items.collect::<String>());
    }
    format!(
        "[\n{}]",
        items
            .map(|item| format!("    {item},\n"))
            .collect::<String>()
    )
}

/// A TOML basic string.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            letter if letter.is_control() => {
                quoted.push_str(&format!("\\u{:04X}", u32::from(letter)))
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}
