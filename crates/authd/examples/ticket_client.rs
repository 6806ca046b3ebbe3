//! The client's half of GSSAPI, for the tests: the library takes its tickets from the environment alone.
//!
//! ```text
//! ticket_client PRINCIPAL [spnego] [BINDING]     BINDING: what it is bound to, as octets in hexadecimal
//! stdout   a token a line, in hexadecimal (empty: nothing to send); `done` after the last
//! stdin    the server's, likewise; after `done`, a line to unwrap: answered by the layer's choice, wrapped
//! ```

#[cfg(feature = "kerberos")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use libgssapi::context::{ClientCtx, CtxFlags, SecurityContext};
    use libgssapi::name::Name;
    use libgssapi::oid::{GSS_MECH_KRB5, GSS_MECH_SPNEGO, GSS_NT_KRB5_PRINCIPAL};

    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [principal, options @ ..] = arguments.as_slice() else {
        return Err("ticket_client PRINCIPAL [spnego] [BINDING]".into());
    };
    let mechanism = match options.first().map(String::as_str) {
        Some("spnego") => GSS_MECH_SPNEGO,
        _ => GSS_MECH_KRB5,
    };
    let binding = options.iter().find(|option| *option != "spnego");
    let binding = binding.map(|text| octets(text)).transpose()?;
    let target = Name::new(principal.as_bytes(), Some(GSS_NT_KRB5_PRINCIPAL))?;
    let flags = CtxFlags::GSS_C_MUTUAL_FLAG | CtxFlags::GSS_C_INTEG_FLAG;
    let mut context = ClientCtx::new(None, target, flags, Some(mechanism));
    let mut received = None;
    loop {
        let token = context.step(received.as_deref(), binding.as_deref())?;
        match token {
            Some(token) if !token.is_empty() => println!("{}", text(&token)),
            _ => println!(),
        }
        if context.is_complete() {
            break;
        }
        received = Some(line()?);
    }
    println!("done");
    let offer = context.unwrap(&line()?)?;
    if offer[..] != [1, 0, 0, 0] {
        return Err(format!("the offer is {:?}", &offer[..]).into());
    }
    println!("{}", text(&context.wrap(false, &offer)?));
    Ok(())
}

#[cfg(not(feature = "kerberos"))]
fn main() {}

#[cfg(feature = "kerberos")]
fn line() -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let mut line = String::new();
    match std::io::stdin().read_line(&mut line)? {
        // Whoever wants no more says no more.
        0 => std::process::exit(0),
        _ => octets(line.trim()),
    }
}

#[cfg(feature = "kerberos")]
fn octets(text: &str) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let pairs = (0..text.len()).step_by(2);
    let octet = |at| u8::from_str_radix(text.get(at..at + 2).unwrap_or("?"), 16);
    Ok(pairs.map(octet).collect::<Result<_, _>>()?)
}

#[cfg(feature = "kerberos")]
fn text(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
