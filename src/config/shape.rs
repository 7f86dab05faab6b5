//! The keys that the reader asks for; pure.

use super::file;
use super::takes::ConfigKey;
use crate::paths::Environment;

/// One of each table that is optional or repeated, so that the reader looks into it.
const ONE_OF_EACH: &str = "[[listen]]\n[[hooks]]\n[[route]]\n[providers.nous]\n";

/// Every key that the file may hold, in the order in which the reader asks for it.
///
/// There is no list: the reader itself reports the keys that it reads.
pub fn shape() -> Vec<ConfigKey> {
    file::read(ONE_OF_EACH, "".as_ref(), &Environment::default()).keys
}
