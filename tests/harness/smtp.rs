//! A plain SMTP client that does exactly what it is told.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// How long one reply may take.
const REPLY_MAX: Duration = Duration::from_secs(30);

/// One reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Its code.
    pub code: u16,
    /// Its lines, without code and line ends.
    pub lines: Vec<String>,
}

/// A session.
pub struct SmtpClient {
    stream: BufReader<TcpStream>,
}

impl SmtpClient {
    /// Connects, reads the greeting and says EHLO.
    ///
    /// # Errors
    /// When it is not welcome.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut client = Self {
            stream: BufReader::new(stream),
        };
        let greeting = client.reply().await?;
        ensure!(greeting.code == 220, "{greeting:?}");
        client.expect("EHLO client.example\r\n", 250).await?;
        Ok(client)
    }

    /// Sends one message in one transaction; `message` has CRLF line ends and no stuffing.
    /// Answers the reply to the final dot, or the first refusal.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn send(&mut self, from: &str, to: &[&str], message: &str) -> Result<Reply> {
        let mut reply = self.say(&format!("MAIL FROM:<{from}>\r\n")).await?;
        for recipient in to {
            if reply.code != 250 {
                return Ok(reply);
            }
            reply = self.say(&format!("RCPT TO:<{recipient}>\r\n")).await?;
        }
        if reply.code != 250 {
            return Ok(reply);
        }
        self.expect("DATA\r\n", 354).await?;
        let stuffed = message.replace("\r\n.", "\r\n..");
        self.say(&format!("{stuffed}\r\n.\r\n")).await
    }

    /// Writes this and reads one reply.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn say(&mut self, text: &str) -> Result<Reply> {
        self.stream.write_all(text.as_bytes()).await?;
        self.reply().await
    }

    /// Writes this and waits for nothing: a part of a message, say.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn write(&mut self, text: &str) -> Result<()> {
        Ok(self.stream.write_all(text.as_bytes()).await?)
    }

    async fn expect(&mut self, text: &str, code: u16) -> Result<Reply> {
        let reply = self.say(text).await?;
        ensure!(
            reply.code == code,
            "{} after {text:?}",
            reply.lines.join(" / ")
        );
        Ok(reply)
    }

    async fn reply(&mut self) -> Result<Reply> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            let read = self.stream.read_line(&mut line);
            let count = tokio::time::timeout(REPLY_MAX, read).await??;
            ensure!(count > 0, "the connection is closed");
            let line = line.trim_end();
            let code = line.get(..3).and_then(|code| code.parse().ok());
            let code = code.with_context(|| format!("not a reply: {line:?}"))?;
            lines.push(line.get(4..).unwrap_or_default().to_owned());
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(Reply { code, lines });
            }
        }
    }
}
