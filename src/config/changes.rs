//! The keys whose values differ between two configurations; pure.

/// The keys whose values differ, with their tables, by what applies them.
#[derive(Default)]
pub(super) struct Changes {
    pub(super) applied: Vec<String>,
    pub(super) needs_restart: Vec<String>,
    table: String,
}

impl Changes {
    /// A reload applies this key.
    pub(super) fn reload<T: PartialEq>(&mut self, key: &str, old: &T, new: &T) {
        if old != new {
            self.applied.push(self.within(key));
        }
    }

    /// Only a restart applies this key.
    pub(super) fn restart<T: PartialEq>(&mut self, key: &str, old: &T, new: &T) {
        if old != new {
            self.needs_restart.push(self.within(key));
        }
    }

    fn within(&self, key: &str) -> String {
        if self.table.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.table)
        }
    }

    /// The keys of one of several tables.
    pub(super) fn one(&mut self, name: String, compare: impl FnOnce(&mut Self)) {
        self.table = name;
        compare(self);
        self.table.clear();
    }
}
