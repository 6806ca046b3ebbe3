//! `--name value` arguments of the sink and the generator.

use crate::Failure;
use std::str::FromStr;

/// The value after `--name`, or `default` where it is not given.
pub(crate) fn value<T: FromStr>(words: &[String], name: &str, default: T) -> Result<T, Failure> {
    let Some(at) = words
        .iter()
        .position(|w| w.strip_prefix("--") == Some(name))
    else {
        return Ok(default);
    };
    let text = words
        .get(at + 1)
        .ok_or_else(|| format!("--{name} wants a value"))?;
    text.parse()
        .map_err(|_| format!("--{name}: `{text}` is no value for it").into())
}
