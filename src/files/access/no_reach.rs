//! The reach where no path is opened component by component.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

/// It does not exist.
#[derive(Debug, Clone)]
pub(in crate::files) struct FileReach(Infallible);

impl FileReach {
    pub(super) fn sibling(&self, _name: &OsStr) -> Self {
        match self.0 {}
    }

    pub(super) fn is_home_of(&self, _owner: u32) -> bool {
        match self.0 {}
    }

    pub(super) fn is_closed(&self) -> bool {
        match self.0 {}
    }

    pub(super) fn act<T>(&self, _work: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
        match self.0 {}
    }

    pub(super) fn roots_own(&self, _options: &OpenOptions) -> Option<File> {
        match self.0 {}
    }
}
