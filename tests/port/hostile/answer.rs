//! A client's half of HTTP/1.1, read byte by byte.

use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::net::tcp::OwnedReadHalf;

/// Reads one answer after the other.
pub(crate) struct Reader {
    stream: OwnedReadHalf,
    buffer: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
    /// The connection ends with it.
    pub closes: bool,
}

impl Reader {
    pub(crate) fn new(stream: OwnedReadHalf) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    /// The next answer; `None` where the connection ends in order instead.
    pub(crate) async fn answer(&mut self, to_head: bool) -> Result<Option<Answer>, String> {
        let end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
            if !self.fill().await? {
                let left = String::from_utf8_lossy(&self.buffer);
                return if left.is_empty() {
                    Ok(None)
                } else {
                    Err(format!("half an answer: {left}"))
                };
            }
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        self.buffer.drain(..end);
        let status = head.get(9..12).and_then(|digits| digits.parse().ok());
        let status: u16 = status.ok_or_else(|| format!("no status: {head}"))?;
        let mut answer = Answer {
            status,
            closes: field(&head, "connection") == Some("close"),
            body: Vec::new(),
            head,
        };
        if to_head || status < 200 || status == 204 || status == 304 {
            return Ok(Some(answer));
        }
        if field(&answer.head, "transfer-encoding") == Some("chunked") {
            answer.body = self.chunks().await?;
        } else if let Some(length) = field(&answer.head, "content-length") {
            let length = length.parse().expect("a length");
            answer.body = self.take(length).await?;
        } else {
            while self.fill().await? {}
            answer.body = std::mem::take(&mut self.buffer);
            answer.closes = true;
        }
        Ok(Some(answer))
    }

    /// The connection ends, in order and without another byte.
    pub(crate) async fn end(&mut self) -> Result<(), String> {
        while self.fill().await? {}
        let left = String::from_utf8_lossy(&self.buffer);
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("more than was asked for: {left}"))
        }
    }

    async fn chunks(&mut self) -> Result<Vec<u8>, String> {
        let mut body = Vec::new();
        loop {
            while find(&self.buffer, b"\r\n").is_none() {
                self.more().await?;
            }
            let end = find(&self.buffer, b"\r\n").expect("a line");
            let line = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
            let size = usize::from_str_radix(&line, 16).map_err(|_| format!("a size: {line}"))?;
            self.buffer.drain(..end + 2);
            body.extend(self.take(size).await?);
            self.take(2).await?;
            if size == 0 {
                return Ok(body);
            }
        }
    }

    async fn take(&mut self, length: usize) -> Result<Vec<u8>, String> {
        while self.buffer.len() < length {
            self.more().await?;
        }
        Ok(self.buffer.drain(..length).collect())
    }

    async fn more(&mut self) -> Result<(), String> {
        if self.fill().await? {
            Ok(())
        } else {
            Err("the answer broke off".to_owned())
        }
    }

    async fn fill(&mut self) -> Result<bool, String> {
        let read = self.stream.read_buf(&mut self.buffer).await;
        read.map(|read| read > 0)
            .map_err(|error| format!("the connection broke: {error}"))
    }
}

impl Answer {
    /// In OpenAI's form, with one code in all three places, and with these words.
    pub(crate) fn is_an_error_of_ours(
        &self,
        to_head: bool,
        code: Option<&str>,
        words: Option<&str>,
    ) -> Result<(), String> {
        let ours = field(&self.head, "x-hermes-error");
        let named = field(&self.head, "x-hermes-request-id").map(str::len);
        if ours.is_none() || named != Some(16) || (code.is_some() && ours != code) {
            return Err(format!("not the error {code:?}: {self:?}"));
        }
        if self.status == 405 && field(&self.head, "allow").is_none() {
            return Err(format!("without Allow: {self:?}"));
        }
        if to_head {
            return Ok(());
        }
        let body: Value = serde_json::from_slice(&self.body)
            .map_err(|error| format!("{error}: {}", String::from_utf8_lossy(&self.body)))?;
        let error = &body["error"];
        if error["code"].as_str() != ours || error["type"].as_str() != ours {
            return Err(format!("another code in the body: {body}"));
        }
        let message = error["message"].as_str().unwrap_or_default();
        if message.contains(words.unwrap_or_default()) {
            Ok(())
        } else {
            Err(format!("the message is: {message}"))
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}
