//! Asks the DNS: every question bounded in time, all of them in number, many at once.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::time::timeout;

use super::facts::{Answer, Data, Facts, Kind, Question};
use super::progress::Progress;

/// Longest wait for one answer, a second try included.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Longest wait for each try.
const TRY_MAX: Duration = Duration::from_millis(2_400);
/// Questions under way at once.
const AT_ONCE: usize = 16;
/// Most questions of one run: a zone of others may name new names without end.
const QUESTIONS_MAX: usize = 2_000;
/// Records kept of one answer.
const RECORDS_MAX: usize = 100;
/// Octets kept of one text record; the longest DKIM keys take under a thousand.
const TEXT_BYTES_MAX: usize = 4_096;

/// Answers in a row that did not come, after which nothing more is asked: an operator would wait for
/// minutes to be told the same of every name.
const SILENCES_MAX: usize = 32;

/// A name server.
pub(super) struct Dns {
    resolver: TokioResolver,
    /// Answers in a row that did not come.
    silences: AtomicUsize,
}

impl Dns {
    /// The given name server, else the system's. Connects to nothing.
    ///
    /// # Errors
    /// If the system's configuration cannot be read.
    pub(super) fn new(server: Option<SocketAddr>) -> anyhow::Result<Self> {
        let mut builder = match server {
            Some(server) => {
                let connections =
                    [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut c| {
                        c.port = server.port();
                        c
                    });
                let server = NameServerConfig::new(server.ip(), true, connections.into());
                let config = ResolverConfig::from_name_servers(vec![server]);
                TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            }
            None => TokioResolver::builder_tokio()?,
        };
        let options = builder.options_mut();
        options.timeout = TRY_MAX;
        options.attempts = 1;
        options.use_hosts_file = ResolveHosts::Never;
        options.max_active_requests = AT_ONCE;
        Ok(Self {
            resolver: builder.build()?,
            silences: AtomicUsize::new(0),
        })
    }

    /// Asks all of these and keeps the answers.
    pub(super) async fn ask(
        &self,
        questions: BTreeSet<Question>,
        facts: &mut Facts,
        progress: &Progress,
    ) {
        let room = QUESTIONS_MAX.saturating_sub(facts.asked());
        for question in questions.iter().skip(room) {
            let why = format!("not asked, {QUESTIONS_MAX} questions are enough");
            facts.learn(question.clone(), Answer::Failed(why));
        }
        let asking = questions.into_iter().take(room).map(|question| async {
            let answer = self.answer(&question).await;
            (question, answer)
        });
        let mut answers = stream::iter(asking).buffer_unordered(AT_ONCE);
        while let Some((question, answer)) = answers.next().await {
            progress.show(&format!("{} questions answered", facts.asked() + 1));
            facts.learn(question, answer);
        }
    }

    async fn answer(&self, question: &Question) -> Answer {
        // The final dot keeps the system's search domains out.
        let Ok(name) = Name::from_ascii(format!("{}.", question.name)) else {
            return Answer::Failed("is no name that could be asked for".to_owned());
        };
        let kind = match question.kind {
            Kind::Txt => RecordType::TXT,
            Kind::Mx => RecordType::MX,
            Kind::A => RecordType::A,
            Kind::Aaaa => RecordType::AAAA,
            Kind::Ptr => RecordType::PTR,
            Kind::Cname => RecordType::CNAME,
        };
        if self.silences.load(Ordering::Relaxed) >= SILENCES_MAX {
            let why =
                format!("not asked, the name server was silent {SILENCES_MAX} times in a row");
            return Answer::Failed(why);
        }
        let answer = match timeout(ANSWER_MAX, self.resolver.lookup(name, kind)).await {
            Ok(Ok(found)) => Some(read(question.kind, found.answers())),
            Ok(Err(NetError::Timeout)) | Err(_) => None,
            Ok(Err(error)) => Some(failed(&error)),
        };
        match &answer {
            Some(_) => self.silences.store(0, Ordering::Relaxed),
            None => {
                self.silences.fetch_add(1, Ordering::Relaxed);
            }
        }
        answer.unwrap_or_else(|| {
            Answer::Failed(format!("no answer within {} s", ANSWER_MAX.as_secs()))
        })
    }
}

fn failed(error: &NetError) -> Answer {
    if error.is_no_records_found() {
        return Answer::Nothing;
    }
    if let NetError::Dns(DnsError::ResponseCode(code)) = error {
        return Answer::Failed(format!("the name server answers {}", code.to_str()));
    }
    Answer::Failed(error.to_string())
}

fn read(kind: Kind, records: &[Record]) -> Answer {
    let data = records.iter().filter_map(|record| data(kind, &record.data));
    let data: Vec<Data> = data.take(RECORDS_MAX).collect();
    match data.is_empty() {
        true => Answer::Nothing,
        false => Answer::Records(data),
    }
}

/// What was asked for; an answer also holds the aliases on the way to it.
fn data(kind: Kind, data: &RData) -> Option<Data> {
    match (kind, data) {
        (Kind::Txt, RData::TXT(txt)) => {
            // RFC 7208 3.3, RFC 6376 3.6.2.2: strings of one record belong together.
            let octets: Vec<u8> = txt.txt_data.concat();
            let octets = octets.get(..TEXT_BYTES_MAX).unwrap_or(&octets);
            Some(Data::Txt(String::from_utf8_lossy(octets).into_owned()))
        }
        (Kind::Mx, RData::MX(mx)) => Some(Data::Mx(mx.preference, plain(&mx.exchange))),
        (Kind::A, RData::A(ip)) => Some(Data::Ip(ip.0.into())),
        (Kind::Aaaa, RData::AAAA(ip)) => Some(Data::Ip(ip.0.into())),
        (Kind::Ptr, RData::PTR(name)) => Some(Data::Name(plain(&name.0))),
        (Kind::Cname, RData::CNAME(name)) => Some(Data::Name(plain(&name.0))),
        _ => None,
    }
}

fn plain(name: &Name) -> String {
    let text = name.to_ascii();
    text.trim_end_matches('.').to_ascii_lowercase()
}
