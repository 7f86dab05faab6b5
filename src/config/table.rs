//! How a table of the file is declared: each key once, with its text, type, default, and what a reload does with it.
//!
//! [`table!`] makes a struct of the keys, and from the same lines how it is read, written and compared. A rule across
//! keys is a function beside the declaration. A value that takes several keys is a field in `beside`, which
//! hand-written code reads and writes.

use super::changes::Changes;
use super::reader::TableReader;
use super::writer::SettingsWriter;

/// A key's name, and the lines of its text.
pub(super) type KeyText = (&'static str, &'static [&'static str]);

/// What follows from a table's declaration.
pub(super) trait Table: Sized {
    /// The keys in their order, with the texts of the reference and the example.
    const KEYS: &'static [KeyText];

    /// Reads the table. What is absent or wrong stays as in `default`; a wrong value is reported.
    fn read(table: &TableReader<'_>, default: Self) -> Self;

    /// Writes every key that has a value.
    fn write(&self, table: &mut SettingsWriter<'_>);

    /// Names the keys whose values differ from the new ones.
    fn compare(&self, new: &Self, changes: &mut Changes);
}

/// Declares a table:
///
/// ```text
/// table! {
///     /// What the table is for.
///     #[derive(Debug, Clone, PartialEq, Eq)]
///     pub struct Limits {
///         /// The text of the key in the reference and the example.
///         pub body: u64 = Size(1..=TIB), or 64 * MIB, on reload;
///     }
/// }
/// ```
///
/// - `Size(1..=TIB)` is the [`Form`](super::form::Form) of the value: how it is read and written.
/// - `or` names the default.
/// - `on reload`: a reload applies a change; `on restart`: only a restart does.
///
/// A table without `beside` gets a `Default`. Fields without a key, such as `beside { pub kind: ProviderKind; }` before
/// the first key, are parameters of `with_defaults`, and the defaults may depend on them.
macro_rules! table {
    (
        $(#[$attribute:meta])*
        $visibility:vis struct $Table:ident { beside { $($beside:tt)* } $($keys:tt)* }
    ) => {
        table! { @declare $(#[$attribute])* $visibility struct $Table { $($beside)* } { $($keys)* } }
    };
    (
        $(#[$attribute:meta])*
        $visibility:vis struct $Table:ident { $($keys:tt)* }
    ) => {
        table! { @declare $(#[$attribute])* $visibility struct $Table {} { $($keys)* } }

        impl Default for $Table {
            fn default() -> Self {
                Self::with_defaults()
            }
        }
    };
    (
        @declare
        $(#[$attribute:meta])*
        $visibility:vis struct $Table:ident
        {
            $(
                $(#[$note:meta])*
                $field_visibility:vis $field:ident: $Field:ty;
            )*
        }
        {
            $(
                $(#[doc = $text:literal])*
                $key_visibility:vis $key:ident: $Type:ty = $form:expr, or $default:expr, on $when:ident;
            )*
        }
    ) => {
        $(#[$attribute])*
        $visibility struct $Table {
            $($(#[$note])* $field_visibility $field: $Field,)*
            $($(#[doc = $text])* $key_visibility $key: $Type,)*
        }

        impl $Table {
            /// Every key at its default.
            fn with_defaults($($field: $Field),*) -> Self {
                $(let $key = $default;)*
                Self { $($field,)* $($key,)* }
            }
        }

        impl $crate::config::table::Table for $Table {
            const KEYS: &'static [$crate::config::table::KeyText] =
                &[$((stringify!($key), &[$($text),*])),*];

            fn read(table: &$crate::config::reader::TableReader<'_>, default: Self) -> Self {
                use $crate::config::form::Form;
                Self {
                    $($field: default.$field,)*
                    $($key: $form.read(table, stringify!($key)).unwrap_or(default.$key),)*
                }
            }

            fn write(&self, table: &mut $crate::config::writer::SettingsWriter<'_>) {
                use $crate::config::form::Form;
                $(table.put(stringify!($key), $form.write(&self.$key));)*
            }

            fn compare(&self, new: &Self, changes: &mut $crate::config::changes::Changes) {
                $(changes.$when(stringify!($key), &self.$key, &new.$key);)*
            }
        }
    };
}

pub(super) use table;

/// The keys of a table that are written.
pub(super) fn keys_written<T: Table>(table: &T) -> Vec<&'static str> {
    let mut settings = Vec::new();
    table.write(&mut SettingsWriter::plain(&mut settings, ""));
    settings.into_iter().map(|setting| setting.key).collect()
}
