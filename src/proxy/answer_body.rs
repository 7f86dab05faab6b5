//! The body of any answer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::download::{Aborted, Download, NextPiece};

/// A body, wherever it is from.
#[derive(Debug)]
pub(super) enum AnswerBody {
    /// Made here, whole.
    Whole(Option<Bytes>),
    /// From the provider.
    Stream(Box<Download>),
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> NextPiece {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream(download) => {
                let polling = catch_unwind(AssertUnwindSafe(|| download.poll(cx)));
                polling.unwrap_or_else(|_| download.defect())
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Stream(download) => download.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Stream(download) => download.size_hint(),
        }
    }
}
