//! Finds the model that a request's body names, and its position. Pure, with little memory.
//!
//! The body is read as it comes, as far as the keys of the outermost object matter: values are skipped at the speed of
//! memory. Providers' JSON parsers differ about invalid or duplicate members; an ambiguous body is refused.

mod form;
mod json;
mod names;
mod quotes;
mod requested;

pub use self::form::{Boundary, FormSearch};
pub use self::json::Scanner;
pub use self::requested::{AmbiguousModel, RequestedModel};

/// What reads a body.
#[derive(Debug)]
pub enum ModelSearch {
    /// A JSON object.
    Json(Scanner),
    /// A form.
    Form(FormSearch),
}

impl ModelSearch {
    /// The model, once it is certain except for a second one.
    pub fn model(&self) -> Option<&RequestedModel> {
        match self {
            Self::Json(scanner) => scanner.model(),
            Self::Form(form) => form.model(),
        }
    }

    /// Reads the next piece.
    ///
    /// # Errors
    /// What makes the model uncertain.
    pub fn read(&mut self, piece: &[u8]) -> Result<(), AmbiguousModel> {
        match self {
            Self::Json(scanner) => scanner.read(piece),
            Self::Form(form) => form.read(piece),
        }
    }

    /// Whether it refuses a body that names more models than one.
    pub fn is_alone(&self) -> bool {
        matches!(self, Self::Json(scanner) if scanner.is_alone())
    }

    /// Whether it is a JSON body of which nothing has been read.
    pub fn is_at_start(&self) -> bool {
        matches!(self, Self::Json(scanner) if scanner.is_at_start())
    }

    /// Reads the next piece until the model is known; the rest does not matter.
    ///
    /// # Errors
    /// What makes the model uncertain.
    pub fn find(&mut self, piece: &[u8]) -> Result<(), AmbiguousModel> {
        match self {
            Self::Json(scanner) => scanner.find(piece),
            Self::Form(form) => form.read(piece),
        }
    }

    /// The body is over.
    ///
    /// # Errors
    /// Where its object or form is not.
    pub fn finish(&self) -> Result<&RequestedModel, AmbiguousModel> {
        match self {
            Self::Json(scanner) => scanner.finish(),
            Self::Form(form) => form.finish(),
        }
    }
}

#[cfg(test)]
mod tests;
