//! `postern certificate`: made, requested, assigned and shown; chains and stores made by the real openssl.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Etc, Run};

const DEFINITION: &str = r#"[general]
fqdn = "mx1.example.com"
listen = ["192.0.2.10:25"]

[access.authentication]
anonymous = true

[delivery]
domains = [{ name = "example.com", to = "maildir:/var/mail/{domain}/{local}", recipients = ["alice"] }]
"#;

const TLS: &str = r#"
[access.tls]
certificates = [
    { certificate = "../certificates/mx1/certificate.pem", key = "../certificates/mx1/key.pem" },
]
"#;

/// An authority of three: root, intermediate, and what they issue; in a folder with the server's own.
struct House {
    etc: Etc,
}

/// Runs openssl in `folder`, and tells what it wrote to both outputs.
#[track_caller]
fn openssl(folder: &Path, arguments: &str) -> String {
    let output = Command::new("openssl")
        .args(arguments.split_whitespace())
        .current_dir(folder)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success(), "openssl {arguments}\n{text}");
    text
}

impl House {
    fn new() -> House {
        let house = House { etc: Etc::new() };
        house
            .etc
            .write("servers/mx1.toml", &format!("{DEFINITION}{TLS}"));
        let ca = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\nsubjectKeyIdentifier=hash\n";
        house.etc.write("ca/ca.ext", ca);
        house.run(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -keyout root.key -out root.pem \
             -subj /CN=Test-Root -config /dev/null -addext basicConstraints=critical,CA:TRUE \
             -addext keyUsage=critical,keyCertSign -addext subjectKeyIdentifier=hash",
        );
        house.run("req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout middle.key -out middle.csr -subj /CN=Test-Issuer -config /dev/null");
        house.run("x509 -req -in middle.csr -CA root.pem -CAkey root.key -CAcreateserial -days 1825 -extfile ca.ext -out middle.pem");
        house
    }

    /// With the server's key and the chain of it, in order: `leaf.key`, `leaf.pem`.
    fn with_leaf() -> House {
        let house = House::new();
        house.run("req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout leaf.key -out leaf.csr -subj /CN=mx1 -config /dev/null");
        house.issue(
            "leaf.csr",
            "leaf.pem",
            "subjectAltName=DNS:mx1.example.com",
            "-days 90",
        );
        house
    }

    fn folder(&self) -> PathBuf {
        self.etc.path().join("ca")
    }

    #[track_caller]
    fn run(&self, arguments: &str) -> String {
        openssl(&self.folder(), arguments)
    }

    fn path(&self, name: &str) -> String {
        self.folder().join(name).to_str().unwrap().to_owned()
    }

    /// Lets the issuer sign a request, with these extensions.
    fn issue(&self, request: &str, certificate: &str, extensions: &str, more: &str) {
        self.etc.write("ca/leaf.ext", &format!("{extensions}\n"));
        self.run(&format!(
            "x509 -req -in {request} -CA middle.pem -CAkey middle.key -CAcreateserial -extfile leaf.ext -out {certificate} {more}"
        ));
    }

    /// Several files as one.
    fn join(&self, name: &str, parts: &[&str]) -> String {
        let text = parts
            .iter()
            .map(|part| fs::read_to_string(self.path(part)).unwrap());
        self.etc
            .write(&format!("ca/{name}"), &text.collect::<String>());
        self.path(name)
    }

    /// `postern certificate …`, while this system trusts the root.
    fn certificate(&self, arguments: &[&str]) -> Run {
        self.certificate_with(arguments, "")
    }

    fn certificate_with(&self, arguments: &[&str], input: &str) -> Run {
        use std::io::Write;
        use std::process::Stdio;
        let mut command = common::command(&["--config", self.etc.text(), "certificate"]);
        command
            .args(arguments)
            .env("SSL_CERT_FILE", self.path("root.pem"))
            .env_remove("SSL_CERT_DIR")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        Run {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// A file beside the pair in use.
    fn own(&self, name: &str) -> PathBuf {
        self.etc.path().join("certificates/mx1").join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.own(name)).unwrap_or_default()
    }

    /// All that is beside the pair, with its content.
    fn all(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut all: Vec<_> = fs::read_dir(self.own(""))
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect();
        all.sort();
        all
    }

    /// Refused, for this reason; nothing is changed.
    #[track_caller]
    fn refuses(&self, arguments: &[&str], why: &[&str]) {
        self.refuses_with(arguments, "", why);
    }

    #[track_caller]
    fn refuses_with(&self, arguments: &[&str], input: &str, why: &[&str]) {
        let before = self.all();
        let run = self.certificate_with(arguments, input);
        assert_eq!(run.code, 1, "{}{}", run.out, run.err);
        for words in why {
            assert!(run.err.contains(words), "{words} is not in\n{}", run.err);
        }
        assert!(self.all() == before, "something was changed: {}", run.out);
    }

    #[track_caller]
    fn takes(&self, arguments: &[&str]) -> Run {
        self.takes_with(arguments, "")
    }

    #[track_caller]
    fn takes_with(&self, arguments: &[&str], input: &str) -> Run {
        let run = self.certificate_with(arguments, input);
        assert_eq!((run.code, run.err.as_str()), (0, ""), "{}", run.out);
        run
    }

    /// The pair in use holds together, as openssl sees it: the key is the leaf's, and the chain leads to the root.
    #[track_caller]
    fn verified(&self, root: &str) {
        let folder = self.own("");
        let public = openssl(&folder, "pkey -in key.pem -pubout");
        assert_eq!(
            openssl(&folder, "x509 -in certificate.pem -noout -pubkey"),
            public
        );
        let root = self.path(root);
        let text = openssl(
            &folder,
            &format!(
                "verify -purpose sslserver -verify_hostname mx1.example.com -CAfile {root} -untrusted certificate.pem certificate.pem"
            ),
        );
        assert_eq!(text, "certificate.pem: OK\n");
        let mode = fs::metadata(self.own("key.pem"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o600);
    }
}

fn blocks(text: &str) -> usize {
    text.matches("BEGIN CERTIFICATE").count()
}

#[test]
fn a_first_certificate_is_made_from_nothing() {
    let house = House::new();
    house.etc.write("servers/mx1.toml", DEFINITION);
    let run = house.takes(&[
        "new",
        "mx1",
        "--name",
        "smtp.example.com",
        "--name",
        "192.0.2.10",
        "--days",
        "30",
    ]);
    assert!(run.out.contains(TLS.trim()), "{}", run.out);
    house.verified("../certificates/mx1/certificate.pem");
    let text = openssl(&house.own(""), "x509 -in certificate.pem -noout -text");
    for words in [
        "DNS:mx1.example.com, DNS:smtp.example.com, IP Address:192.0.2.10",
        "Subject: CN = mx1.example.com",
        "ASN1 OID: prime256v1",
        "TLS Web Server Authentication",
    ] {
        assert!(text.contains(words), "{words} is not in {text}");
    }
    openssl(
        &house.own(""),
        "x509 -in certificate.pem -noout -checkend 2500000",
    );
    // The lines it prints are the definition's own; check has nothing to say but that it is self-signed.
    house
        .etc
        .write("servers/mx1.toml", &format!("{DEFINITION}{TLS}"));
    let run = house.etc.postern(&["check", "mx1", "--strict"]);
    assert_eq!(run.code, 0, "{}", run.out);
}

#[test]
fn a_pair_that_is_there_is_replaced_only_by_force_and_is_kept() {
    let house = House::new();
    house.takes(&["new", "mx1"]);
    let (certificate, key) = (house.text("certificate.pem"), house.text("key.pem"));
    house.refuses(&["new", "mx1"], &["it is there already; --force"]);
    let run = house.takes(&["new", "mx1", "--force", "--rsa", "3072"]);
    assert!(run.out.contains("certificate.pem.previous"), "{}", run.out);
    assert_eq!(house.text("certificate.pem.previous"), certificate);
    assert_eq!(house.text("key.pem.previous"), key);
    house.verified("../certificates/mx1/certificate.pem");
    let text = openssl(&house.own(""), "x509 -in certificate.pem -noout -text");
    assert!(text.contains("Public-Key: (3072 bit)"), "{text}");
    let mode = fs::metadata(house.own("key.pem.previous"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o600);
    let run = house.certificate(&["new", "mx1", "--force", "--rsa", "1024"]);
    assert_eq!(run.code, 2, "{}", run.err);
    let run = house.certificate(&["new", "mx1", "--force", "--name", "a b"]);
    assert!(
        run.code == 2 && run.err.contains("is no name of a host"),
        "{}",
        run.err
    );
}

#[test]
fn a_request_is_answered_and_its_key_put_in_use() {
    let house = House::new();
    house.takes(&["new", "mx1"]);
    let in_use = house.text("certificate.pem");
    house.takes(&[
        "request",
        "mx1",
        "--name",
        "*.example.net",
        "--organization",
        "Example GmbH",
        "--country",
        "de",
    ]);
    assert_eq!(house.text("certificate.pem"), in_use);
    let text = openssl(
        &house.own(""),
        "req -in certificate.request.pem -verify -noout -text",
    );
    for words in [
        "verify OK",
        "DNS:mx1.example.com, DNS:*.example.net",
        "C = DE, O = Example GmbH, CN = mx1.example.com",
    ] {
        assert!(text.contains(words), "{words} is not in {text}");
    }
    let mode = fs::metadata(house.own("key.pending.pem"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o600);
    house.refuses(&["request", "mx1"], &["it is there already", "--force"]);
    let shown = house.takes(&["show", "mx1"]);
    assert!(
        shown.out.contains("key.pending.pem for its certificate"),
        "{}",
        shown.out
    );

    let request = "../certificates/mx1/certificate.request.pem";
    house.issue(
        request,
        "leaf.pem",
        "subjectAltName=DNS:mx1.example.com,DNS:*.example.net\nextendedKeyUsage=serverAuth",
        "-days 90",
    );
    let pending = house.text("key.pending.pem");
    let run = house.takes(&[
        "assign",
        "mx1",
        &house.path("leaf.pem"),
        &house.path("middle.pem"),
    ]);
    assert!(run.out.contains("issued by CN=Test-Issuer"), "{}", run.out);
    assert_eq!(openssl(&house.own(""), "pkey -in key.pem"), pending);
    assert!(!house.own("key.pending.pem").exists());
    assert_eq!(house.text("certificate.pem.previous"), in_use);
    assert_eq!(blocks(&house.text("certificate.pem")), 2);
    house.verified("root.pem");

    // Once more, and the pair before is not forgotten for it.
    let (leaf, middle) = (house.path("leaf.pem"), house.path("middle.pem"));
    house.takes(&["assign", "mx1", &leaf, &middle]);
    assert_eq!(house.text("certificate.pem.previous"), in_use);

    // The same key again, for a renewal under the same TLSA record.
    house.takes(&["request", "mx1", "--same-key"]);
    assert!(!house.own("key.pending.pem").exists());
    let key = openssl(
        &house.own(""),
        "req -in certificate.request.pem -verify -noout -pubkey",
    );
    assert!(
        key.contains(openssl(&house.own(""), "pkey -in key.pem -pubout").trim()),
        "{key}"
    );
    house.issue(
        request,
        "renewed.pem",
        "subjectAltName=DNS:mx1.example.com",
        "-days 91",
    );
    let run = house.takes(&[
        "assign",
        "mx1",
        &house.path("renewed.pem"),
        &house.path("middle.pem"),
    ]);
    assert!(
        run.out
            .contains("warning: the one before was for *.example.net too"),
        "{}",
        run.out
    );
    house.verified("root.pem");
}

#[test]
fn certificates_are_taken_in_any_order_and_form() {
    let house = House::with_leaf();
    let key = house.path("leaf.key");
    let assign = |files: &[&str]| {
        let paths: Vec<String> = files.iter().map(|file| house.path(file)).collect();
        let paths = paths.iter().map(String::as_str);
        let all: Vec<&str> = ["assign", "mx1", "--key", &key]
            .into_iter()
            .chain(paths)
            .collect();
        house.takes(&all);
        house.verified("root.pem");
        // The root is known to everybody, and is left out.
        assert_eq!(blocks(&house.text("certificate.pem")), 2, "{files:?}");
    };
    house.join(
        "wrong-order.pem",
        &["root.pem", "middle.pem", "leaf.pem", "middle.pem"],
    );
    house.run("x509 -in leaf.pem -outform DER -out leaf.der");
    house.run("crl2pkcs7 -nocrl -certfile wrong-order.pem -outform DER -out all.p7b");
    house.run("crl2pkcs7 -nocrl -certfile wrong-order.pem -out all-pem.p7b");
    assign(&["wrong-order.pem"]);
    assign(&["middle.pem", "leaf.pem"]);
    assign(&["leaf.der", "middle.pem"]);
    assign(&["all.p7b"]);
    assign(&["all-pem.p7b"]);
    // A worker reads it as it is.
    let run = house.etc.postern(&["check", "mx1"]);
    assert!(run.code == 0 && !run.out.contains("error"), "{}", run.out);
}

#[test]
fn a_root_of_ones_own_ends_a_chain_and_stays_in_it() {
    let house = House::with_leaf();
    house.run("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 9 -keyout other.key -out other.pem -subj /CN=Other -config /dev/null");
    let all = house.join("all.pem", &["leaf.pem", "middle.pem", "root.pem"]);
    let run = common::command(&[
        "--config",
        house.etc.text(),
        "certificate",
        "assign",
        "mx1",
        &all,
        "--key",
        &house.path("leaf.key"),
    ])
    .env("SSL_CERT_FILE", house.path("other.pem"))
    .output()
    .unwrap();
    assert!(
        run.status.success(),
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );
    assert_eq!(blocks(&house.text("certificate.pem")), 3);
    house.verified("root.pem");
}

#[test]
fn stores_of_both_kinds_are_opened() {
    let house = House::with_leaf();
    house.join("issuers.pem", &["middle.pem", "root.pem"]);
    let export = |name: &str, how: &str| {
        house.run(&format!(
            "pkcs12 -export -inkey leaf.key -in leaf.pem -certfile issuers.pem -passout pass:pä55wort -out {name} {how}"
        ));
        house.path(name)
    };
    // The old Windows server's: RC2-40 for certificates, 3DES for the key, SHA-1 for the whole.
    let old = export("old.pfx", "-legacy");
    let text = house.run("pkcs12 -in old.pfx -legacy -info -noout -passin pass:pä55wort");
    assert!(
        text.contains("pbeWithSHA1And40BitRC2-CBC")
            && text.contains("pbeWithSHA1And3-KeyTripleDES-CBC"),
        "{text}"
    );
    let new = export(
        "new.pfx",
        "-keypbe AES-256-CBC -certpbe AES-256-CBC -macalg SHA256",
    );
    let text = house.run("pkcs12 -in new.pfx -info -noout -passin pass:pä55wort");
    assert!(
        text.contains("PBES2") && text.contains("AES-256-CBC"),
        "{text}"
    );
    let tripled = export(
        "tripled.pfx",
        "-legacy -certpbe PBE-SHA1-3DES -keypbe PBE-SHA1-3DES",
    );
    let without_mac = export("without-mac.pfx", "-nomac");
    house.etc.write("ca/password", "pä55wort\nanother line\n");

    for store in [&old, &new, &tripled, &without_mac] {
        let by_option = ["assign", "mx1", "--pkcs12", store, "--password-stdin"];
        house.refuses_with(
            &by_option,
            "wrong\n",
            &["the password is wrong; nothing was changed"],
        );
        house.refuses_with(&by_option, "\n", &["the password is wrong"]);
        house.takes_with(&by_option, "pä55wort\r\n");
        house.verified("root.pem");
        house.takes(&[
            "assign",
            "mx1",
            store,
            "--password-file",
            &house.path("password"),
        ]);
        house.verified("root.pem");
        assert_eq!(blocks(&house.text("certificate.pem")), 2);
    }
    house.run("pkcs12 -export -inkey leaf.key -in leaf.pem -certfile issuers.pem -passout pass: -out open.pfx");
    house.takes(&["assign", "mx1", &house.path("open.pfx")]);
    house.verified("root.pem");

    let run = house.certificate(&["assign", "mx1", &new]);
    assert!(
        run.code == 2 && run.err.contains("--password-stdin"),
        "{}",
        run.err
    );
    house.refuses(
        &["assign", "mx1", "--pkcs12", &house.path("leaf.pem")],
        &["no PKCS#12 file"],
    );
    let bytes = fs::read(&new).unwrap();
    fs::write(house.path("cut.pfx"), &bytes[..bytes.len() - 100]).unwrap();
    let run = house.certificate(&[
        "assign",
        "mx1",
        "--pkcs12",
        &house.path("cut.pfx"),
        "--password-file",
        &house.path("password"),
    ]);
    assert_eq!(run.code, 1, "{}", run.err);
    for at in (0..bytes.len()).step_by(97) {
        let mut changed = bytes.clone();
        changed[at] ^= 0x55;
        fs::write(house.path("changed.pfx"), &changed).unwrap();
        let run = house.certificate(&[
            "assign",
            "mx1",
            "--pkcs12",
            &house.path("changed.pfx"),
            "--password-file",
            &house.path("password"),
        ]);
        assert!(run.code < 2, "{at}: {}", run.err);
    }
}

#[test]
fn what_is_wrong_is_said_and_nothing_is_changed() {
    let house = House::with_leaf();
    house.takes(&["new", "mx1"]);
    let key = house.path("leaf.key");
    let good = "subjectAltName=DNS:mx1.example.com";
    let middle = house.path("middle.pem");
    let refuses = |certificate: &str, why: &[&str]| {
        let file = house.path(certificate);
        house.refuses(&["assign", "mx1", &file, &middle, "--key", &key], why);
    };

    let leaf = house.path("leaf.pem");
    house.refuses(
        &["assign", "mx1", &leaf, "--key", &key],
        &["the chain is incomplete: CN=Test-Issuer, who issued the certificate for mx1.example.com", "add the certificate of the issuer"],
    );
    house.refuses(
        &["assign", "mx1", &leaf, &middle],
        &["the key does not fit", "key.pem", "--key FILE"],
    );
    // The issuer's key fits the issuer's certificate, which is not this server's.
    let foreign = house.path("middle.key");
    house.refuses(
        &["assign", "mx1", &leaf, &middle, "--key", &foreign],
        &["it does not name mx1.example.com"],
    );
    house.refuses(&["assign", "mx1", &key], &["it holds no certificate"]);
    house.refuses(
        &["assign", "mx1", &leaf, &middle, "--key", &middle],
        &["holds no private key"],
    );
    house.run("pkey -in leaf.key -aes256 -passout pass:x -out locked.key");
    house.refuses(
        &[
            "assign",
            "mx1",
            &leaf,
            &middle,
            "--key",
            &house.path("locked.key"),
        ],
        &["locked by a password", "openssl pkey"],
    );

    house.issue(
        "leaf.csr",
        "other-name.pem",
        "subjectAltName=DNS:mail.example.org,DNS:*.mx1.example.com,DNS:*.com",
        "-days 90",
    );
    refuses(
        "other-name.pem",
        &["it does not name mx1.example.com, but mail.example.org, *.mx1.example.com"],
    );
    house.issue(
        "leaf.csr",
        "no-name.pem",
        "basicConstraints=CA:FALSE",
        "-days 90",
    );
    refuses(
        "no-name.pem",
        &["it does not name mx1.example.com, but no host at all"],
    );
    house.issue(
        "leaf.csr",
        "client.pem",
        &format!("{good}\nextendedKeyUsage=clientAuth"),
        "-days 90",
    );
    refuses("client.pem", &["is not for servers"]);
    house.issue("leaf.csr", "sha1.pem", good, "-days 90 -sha1");
    refuses("sha1.pem", &["signed with SHA-1", "issue it anew"]);
    house.issue(
        "leaf.csr",
        "far.pem",
        &format!("{good}\nauthorityInfoAccess=caIssuers;URI:http://ca.test/issuer.der"),
        "-days 90",
    );
    house.refuses(
        &["assign", "mx1", &house.path("far.pem"), "--key", &key],
        &["which is at http://ca.test/issuer.der"],
    );

    // Several at once are all said.
    house.issue(
        "leaf.csr",
        "worst.pem",
        "subjectAltName=DNS:x.example\nextendedKeyUsage=emailProtection",
        "-days 90 -sha1",
    );
    refuses("worst.pem", &["does not name", "not for servers", "SHA-1"]);

    house.run("genrsa -traditional -out weak.key 1024");
    house.run("req -new -key weak.key -out weak.csr -subj /CN=mx1 -config /dev/null");
    house.issue("weak.csr", "weak.pem", good, "-days 90");
    let weak = house.path("weak.pem");
    house.refuses(
        &[
            "assign",
            "mx1",
            &weak,
            &middle,
            "--key",
            &house.path("weak.key"),
        ],
        &["this key cannot be used", "2048"],
    );

    // Who issued it, under the same name but with another key.
    house.run("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 9 -keyout false.key -out false.pem -subj /CN=Test-Issuer -config /dev/null -addext basicConstraints=critical,CA:TRUE");
    house.refuses(
        &[
            "assign",
            "mx1",
            &leaf,
            &house.path("false.pem"),
            "--key",
            &key,
        ],
        &["not signed by the key of CN=Test-Issuer"],
    );
    // Who issued it without being allowed to.
    house.run("req -new -key middle.key -out plain.csr -subj /CN=Test-Issuer -config /dev/null");
    house.run("x509 -req -in plain.csr -CA root.pem -CAkey root.key -CAcreateserial -days 99 -out plain.pem");
    house.refuses(
        &[
            "assign",
            "mx1",
            &leaf,
            &house.path("plain.pem"),
            "--key",
            &key,
        ],
        &["CN=Test-Issuer is no authority"],
    );

    let run = house.certificate(&["assign", "mx1"]);
    assert!(
        run.code == 2 && run.err.contains("no terminal to ask on"),
        "{}",
        run.err
    );
    let run = house.certificate(&["assign", "mx1", "/nowhere/leaf.pem"]);
    assert_eq!(run.code, 2, "{}", run.err);
}

#[test]
fn a_certificate_out_of_its_time_is_refused_and_one_near_its_end_is_warned_of() {
    let house = House::with_leaf();
    let key = house.path("leaf.key");
    let middle = house.path("middle.pem");
    // Dates in the past are for `openssl ca` alone.
    house.etc.write(
        "ca/ca.cnf",
        "[ca]\ndefault_ca=d\n[d]\ndatabase=index\nserial=serial\nnew_certs_dir=.\ndefault_md=sha256\npolicy=p\nx509_extensions=x\nunique_subject=no\n\
         [p]\ncommonName=supplied\n[x]\nsubjectAltName=DNS:*.example.com\n",
    );
    house.etc.write("ca/index", "");
    house.etc.write("ca/serial", "77\n");
    let issue = |name: &str, from: &str, to: &str| {
        house.run(&format!(
            "ca -batch -notext -config ca.cnf -cert middle.pem -keyfile middle.key -in leaf.csr -out {name} -startdate {from} -enddate {to}"
        ));
        house.path(name)
    };
    let old = issue("old.pem", "20200101000000Z", "20210203000000Z");
    house.refuses(
        &["assign", "mx1", &old, &middle, "--key", &key],
        &[
            "the certificate for *.example.com expired on 2021-02-03",
            "renew the certificate",
        ],
    );
    let early = issue("early.pem", "20900101000000Z", "20910101000000Z");
    house.refuses(
        &["assign", "mx1", &early, &middle, "--key", &key],
        &["is not valid before 2090-01-01", "clock"],
    );
    // Of two for one key, the one that ends later is taken.
    let both = house.join("both.pem", &["old.pem", "leaf.pem", "middle.pem"]);
    house.takes(&["assign", "mx1", &both, "--key", &key]);
    house.verified("root.pem");

    house.issue(
        "leaf.csr",
        "soon.pem",
        "subjectAltName=DNS:*.example.com",
        "-days 20",
    );
    let run = house.takes(&[
        "assign",
        "mx1",
        &house.path("soon.pem"),
        &middle,
        "--key",
        &key,
    ]);
    assert!(
        run.out
            .contains("warning: the certificate for *.example.com ends on"),
        "{}",
        run.out
    );
    house.verified("root.pem");
    let run = house.etc.postern(&["check", "mx1"]);
    assert!(run.out.contains("warning: ../certificates/mx1/certificate.pem: the certificate for *.example.com ends on"), "{}", run.out);
}

#[test]
fn links_that_another_program_keeps_are_left_alone() {
    let house = House::with_leaf();
    house.takes(&["new", "mx1"]);
    fs::rename(house.own("certificate.pem"), house.own("real.pem")).unwrap();
    std::os::unix::fs::symlink("real.pem", house.own("certificate.pem")).unwrap();
    let (leaf, middle, key) = (
        house.path("leaf.pem"),
        house.path("middle.pem"),
        house.path("leaf.key"),
    );
    house.refuses(
        &["assign", "mx1", &leaf, &middle, "--key", &key],
        &["it is a link to real.pem", "certbot"],
    );
    house.refuses(&["new", "mx1", "--force"], &["it is a link"]);
}

#[test]
fn a_pair_in_one_file_is_replaced_as_one() {
    let house = House::with_leaf();
    let one =
        "[access.tls]\ncertificates = [{ certificate = \"../both.pem\", key = \"../both.pem\" }]\n";
    house
        .etc
        .write("servers/mx1.toml", &format!("{DEFINITION}\n{one}"));
    let (leaf, middle, key) = (
        house.path("leaf.pem"),
        house.path("middle.pem"),
        house.path("leaf.key"),
    );
    house.takes(&["assign", "mx1", &leaf, &middle, "--key", &key]);
    let path = house.etc.path().join("both.pem");
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!((blocks(&text), text.matches("PRIVATE KEY").count()), (2, 2));
    assert_eq!(
        fs::metadata(path).unwrap().permissions().mode() & 0o7777,
        0o600
    );
    let shown = house.takes(&["show", "mx1"]);
    assert!(shown.out.contains("which fits"), "{}", shown.out);
}

#[test]
fn further_pairs_have_names_of_their_own() {
    let house = House::with_leaf();
    house.takes(&["new", "mx1"]);
    let run = house.certificate(&["new", "mx1", "--pair", "2"]);
    assert!(
        run.code == 2 && run.err.contains("--name HOST"),
        "{}",
        run.err
    );
    let run = house.takes(&["new", "mx1", "--pair", "2", "--name", "mail.example.org"]);
    assert!(
        run.out.contains("../certificates/mx1/certificate-2.pem"),
        "{}",
        run.out
    );
    let run = house.certificate(&["new", "mx1", "--pair", "4", "--name", "mail.example.org"]);
    assert!(run.code == 2 && run.err.contains("--pair 2"), "{}", run.err);
    // Before there is a definition, the names are given.
    let run = house.certificate(&["new", "mx9"]);
    assert_eq!(run.code, 2, "{}", run.err);
    let run = house.takes(&["new", "mx9", "--name", "mx9.example.com"]);
    assert!(
        run.out.contains("mx9.toml does not name it yet"),
        "{}",
        run.out
    );
}

#[test]
fn what_is_in_use_is_shown() {
    let house = House::with_leaf();
    let (leaf, middle, key) = (
        house.path("leaf.pem"),
        house.path("middle.pem"),
        house.path("leaf.key"),
    );
    let run = house.takes(&["show"]);
    assert!(
        run.out.contains("certificate.pem cannot be read"),
        "{}",
        run.out
    );
    house.takes(&["assign", "mx1", &leaf, &middle, "--key", &key]);
    let run = house.takes(&["show"]);
    let print = house.run("x509 -in leaf.pem -noout -fingerprint -sha256");
    let print = print.trim().split_once('=').unwrap().1.to_owned();
    for words in [
        "names       mx1.example.com\n",
        "issued by   CN=Test-Issuer\n",
        " days left)",
        "ECDSA P-256",
        "which fits",
        "chain       CN=Test-Issuer\n",
        print.as_str(),
    ] {
        assert!(run.out.contains(words), "{words} is not in {}", run.out);
    }
    assert!(!run.out.contains("wrong"), "{}", run.out);
    let run = house.takes(&["show", "mx1", "--json"]);
    let shown: serde_json::Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(shown[0]["sha256"], print);
    let left = shown[0]["days_left"].as_i64().unwrap();
    assert!((89..=90).contains(&left) && shown[0]["key_fits"] == true);
    assert_eq!(shown[0]["faults"], serde_json::json!([]));

    // What is wrong in the files is said too.
    fs::copy(house.path("middle.key"), house.own("key.pem")).unwrap();
    fs::copy(house.path("leaf.pem"), house.own("certificate.pem")).unwrap();
    let text = DEFINITION.replace("mx1.example.com", "mx2.example.com");
    house.etc.write("servers/mx1.toml", &format!("{text}{TLS}"));
    let run = house.takes(&["show", "mx1"]);
    for words in [
        "does not fit",
        "the chain is incomplete",
        "does not name mx2.example.com",
    ] {
        assert!(run.out.contains(words), "{words} is not in {}", run.out);
    }
}

#[test]
fn on_a_terminal_what_was_not_given_is_asked_for() {
    use std::io::Write;
    let house = House::with_leaf();
    let dialogue = |verb: &str, answers: &str| {
        let terminal = nix::pty::openpty(None, None).unwrap();
        fs::File::from(terminal.master.try_clone().unwrap())
            .write_all(answers.as_bytes())
            .unwrap();
        let output = common::command(&["--config", house.etc.text(), "certificate", verb, "mx1"])
            .env("SSL_CERT_FILE", house.path("root.pem"))
            .stdin(terminal.slave)
            .output()
            .unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{err}");
        err
    };
    let asked = dialogue(
        "new",
        "smtp.example.com a_b*\nsmtp.example.com\nrsa-2048\nsoon\n90\n",
    );
    for words in [
        "Names besides mx1.example.com",
        "is no name of a host",
        "Key: ecdsa, or rsa for old clients [ecdsa]: ",
        "write a number from 1 to 3650",
    ] {
        assert!(asked.contains(words), "{words} is not in {asked}");
    }
    let text = openssl(&house.own(""), "x509 -in certificate.pem -noout -text");
    assert!(text.contains("DNS:smtp.example.com") && text.contains("(2048 bit)"));

    dialogue("request", "\n\n");
    let request = "../certificates/mx1/certificate.request.pem";
    let names = "subjectAltName=DNS:mx1.example.com";
    house.issue(request, "leaf.pem", names, "-days 90");
    let files = format!(
        "/nowhere\n{} {}\n",
        house.path("middle.pem"),
        house.path("leaf.pem")
    );
    let asked = dialogue("assign", &files);
    assert!(asked.contains("there is no file /nowhere"), "{asked}");
    house.verified("root.pem");
}
