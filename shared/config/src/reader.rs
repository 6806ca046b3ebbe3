//! Walks the parsed text.

use std::path::Path;

use postern_hosting::Finding;

use crate::Definition;

pub(crate) fn read(_text: &str, _path: &Path) -> (Option<Definition>, Vec<Finding>) {
    (Some(Definition::default()), Vec::new())
}
