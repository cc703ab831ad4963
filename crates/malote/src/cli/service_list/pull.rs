//! What a service suppresses, brought into our list.

use std::collections::BTreeMap;

use malote_core::address::EmailAddress;
use malote_core::name::{PoolName, StreamName};
use malote_core::provider::{REPLY_TEXT_BYTES_MAX, bounded};
use malote_core::service_list::{ListEntry, ListMeaning};
use malote_core::stream::Class;
use malote_core::suppression::{SuppressionReason, SuppressionScope, source_of};
use malote_store::Suppression;

use super::reader::Reader;
use super::{Access, Account, Opened, Ours, ServiceListArgs, open};
use crate::admin::api::{Keep, SuppressionBody};
use crate::cli::exit::{Failure, Outcome};
use crate::cli::progress::Progress;
use crate::cli::{out, suppressions};

const HEAD: [&str; 4] = ["REASON", "READ", "NEW", "ALREADY HERE"];
/// New entries that a dry run shows.
const SHOWN_MAX: usize = 10;
const CAME_BACK: &str = "came back to us later";
const NO_ADDRESS: &str = "not an address";
const NO_STREAM: &str = "the list tells no stream: give --stream NAME";
const NO_CAMPAIGN: &str = "no campaign stream is configured, and it stops campaigns only";

/// Runs `malote suppressions pull`.
pub(crate) async fn pull(args: ServiceListArgs) -> Outcome {
    let access = if args.dry_run {
        Access::Read
    } else {
        Access::Write
    };
    let opened = open(&args, access).await?;
    let mut pulling = Pulling {
        scopes: Scopes::of(&opened, args.stream.clone()),
        account: Account::of(&opened, &args),
        first: Vec::new(),
        opened: &opened,
        keep: if args.dry_run {
            Keep::Nothing
        } else {
            Keep::New
        },
    };
    let mut reader = Reader::of(opened.list.clone());
    let mut progress = Progress::start("read", None);
    let ended = loop {
        let page = match reader.page().await {
            Ok(Some(page)) => page,
            Ok(None) => break Ok(()),
            Err(failure) => break Err(failure),
        };
        progress.at(0, reader.entries());
        if let Err(failure) = pulling.take(page).await {
            break Err(failure);
        }
    };
    progress.end();
    let Pulling { account, first, .. } = pulling;
    if args.json {
        out::json(&account)?;
    } else {
        if !first.is_empty() {
            suppressions::print(&first)?;
            out::text("")?;
        }
        account.print(&HEAD)?;
    }
    ended.map_err(|failure| stopped(failure, account.read))
}

/// The same failure, with what was done.
fn stopped(failure: Failure, read: u64) -> Failure {
    match failure {
        Failure::Failed(error) => Failure::Failed(error.context(format!(
            "stopped after {read} entries; what was read stands, and the command may be repeated"
        ))),
        other @ (Failure::Usage(_) | Failure::Nothing(_)) => other,
    }
}

struct Pulling<'a> {
    opened: &'a Opened,
    scopes: Scopes,
    keep: Keep,
    account: Account,
    first: Vec<SuppressionBody>,
}

impl Pulling<'_> {
    async fn take(&mut self, page: Vec<ListEntry>) -> Outcome {
        let mut taken: BTreeMap<SuppressionReason, Vec<Suppression>> = BTreeMap::new();
        for entry in page {
            self.account.read += 1;
            let reason = match entry.meaning {
                ListMeaning::Suppressed(reason) => reason,
                ListMeaning::LeftOut(why) => {
                    self.account.leave_out(why.as_str(), 1);
                    continue;
                }
            };
            let entries = match self.entries(entry, reason) {
                Ok(entries) => entries,
                Err(why) => {
                    self.account.leave_out(why, 1);
                    continue;
                }
            };
            self.account.counts(reason).read += 1;
            taken.entry(reason).or_default().extend(entries);
        }
        for (reason, entries) in taken {
            self.keep(reason, entries).await?;
        }
        Ok(())
    }

    /// What an entry of the service becomes.
    fn entries(
        &self,
        entry: ListEntry,
        reason: SuppressionReason,
    ) -> Result<Vec<Suppression>, &'static str> {
        let scopes = self.scopes.scopes(reason, &entry.pools)?;
        let address = EmailAddress::parse(entry.address.trim()).map_err(|_| NO_ADDRESS)?;
        let now = self.opened.clock.now();
        let name = &self.opened.name;
        let kept = |scope| Suppression {
            address: address.clone().into(),
            scope,
            reason,
            detail: bounded(&entry.detail, REPLY_TEXT_BYTES_MAX),
            source: source_of(name),
            provider: Some(name.clone()),
            credential: None,
            created_at: entry.at.unwrap_or(now).min(now),
            expires_at: None,
        };
        Ok(scopes.into_iter().map(kept).collect())
    }

    async fn keep(&mut self, reason: SuppressionReason, entries: Vec<Suppression>) -> Outcome {
        let client = match &self.opened.ours {
            Ours::Gateway(client) => client,
            Ours::Store(store) => {
                let now = self.opened.clock.now();
                let stands = malote_delivery::already_stand(store.as_ref(), &entries, now).await?;
                for (entry, stands) in entries.into_iter().zip(stands) {
                    let counts = self.account.counts(reason);
                    counts.already += u64::from(stands);
                    counts.new += u64::from(!stands);
                    if !stands && self.first.len() < SHOWN_MAX {
                        self.first.push(entry.into());
                    }
                }
                return Ok(());
            }
        };
        let (mut documents, count) = (Vec::new(), entries.len());
        for entry in entries.into_iter().map(SuppressionBody::from) {
            serde_json::to_writer(&mut documents, &entry)?;
            documents.push(b'\n');
        }
        let lines: Vec<u64> = (1..=count as u64).collect();
        let report = suppressions::send(client, documents, &lines, self.keep).await?;
        let counts = self.account.counts(reason);
        counts.new += report.imported;
        counts.already += report.already;
        self.account.leave_out(CAME_BACK, report.outlived);
        let room = SHOWN_MAX.saturating_sub(self.first.len());
        self.first.extend(report.first.into_iter().take(room));
        if let Some(fault) = report.faults.first() {
            let why = format!("refused by the gateway: {}", fault.detail);
            self.account.leave_out(&why, report.refused);
        }
        Ok(())
    }
}

/// Where what is pulled is kept: bounces globally; what somebody wished for campaigns only.
struct Scopes {
    campaigns: Vec<StreamName>,
    named: Option<StreamName>,
    /// The campaign streams that leave by each pool.
    by_pool: BTreeMap<PoolName, Vec<StreamName>>,
}

impl Scopes {
    fn of(opened: &Opened, named: Option<StreamName>) -> Self {
        let streams = opened.config.streams.iter();
        let campaigns = streams.filter(|(_, stream)| stream.class == Class::Campaign);
        let campaigns: Vec<StreamName> = campaigns.map(|(name, _)| name.clone()).collect();
        let mut by_pool: BTreeMap<PoolName, Vec<StreamName>> = BTreeMap::new();
        for stream in &campaigns {
            for pool in opened.config.router.pools_at(stream, &opened.name) {
                by_pool
                    .entry(pool.clone())
                    .or_default()
                    .push(stream.clone());
            }
        }
        Self {
            campaigns,
            named,
            by_pool,
        }
    }

    fn scopes(
        &self,
        reason: SuppressionReason,
        pools: &[PoolName],
    ) -> Result<Vec<SuppressionScope>, &'static str> {
        let streams = match reason {
            SuppressionReason::HardBounce | SuppressionReason::MailboxFull => {
                return Ok(vec![SuppressionScope::Global]);
            }
            SuppressionReason::Complaint
            | SuppressionReason::Unsubscribe
            | SuppressionReason::Manual => self.streams(reason, pools),
        };
        match streams {
            _ if self.campaigns.is_empty() => Err(NO_CAMPAIGN),
            None => Err(NO_STREAM),
            Some(streams) => Ok(streams.into_iter().map(SuppressionScope::Stream).collect()),
        }
    }

    /// The streams that somebody wished no more mail of. A wish about transactional mail is one
    /// about all campaigns, as with the service's events; so is a complaint of unknown origin.
    fn streams(&self, reason: SuppressionReason, pools: &[PoolName]) -> Option<Vec<StreamName>> {
        if !pools.is_empty() {
            let told = pools.iter().filter_map(|pool| self.by_pool.get(pool));
            let mut told: Vec<StreamName> = told.flatten().cloned().collect();
            told.sort();
            told.dedup();
            let is_campaign = !told.is_empty();
            return Some(if is_campaign {
                told
            } else {
                self.campaigns.clone()
            });
        }
        if let Some(named) = &self.named {
            return Some(vec![named.clone()]);
        }
        let is_plain = reason == SuppressionReason::Complaint || self.campaigns.len() == 1;
        is_plain.then(|| self.campaigns.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bounce_stops_everything_and_a_wish_campaigns_only() {
        let name = |text: &str| StreamName::try_from(text).unwrap();
        let pool = |text: &str| PoolName::try_from(text).unwrap();
        let both = vec![name("news"), name("offers")];
        let scopes = |campaigns: &[StreamName], named: Option<&str>| Scopes {
            campaigns: campaigns.to_vec(),
            named: named.map(name),
            by_pool: BTreeMap::from([(pool("bulk"), vec![name("offers")])]),
        };
        let words = |scopes: &Scopes, reason, pools: &[PoolName]| {
            let scopes = scopes.scopes(reason, pools)?;
            let words = scopes.iter().map(SuppressionScope::to_string);
            Ok::<_, &str>(words.collect::<Vec<_>>().join(" "))
        };
        use SuppressionReason::{Complaint, HardBounce, Manual, Unsubscribe};
        let unnamed = scopes(&both, None);
        let (bulk, reset) = ([pool("bulk")], [pool("default")]);
        for (reason, pools, expected) in [
            (HardBounce, &[][..], Ok("global")),
            (Complaint, &[], Ok("news offers")),
            (Unsubscribe, &[], Err(NO_STREAM)),
            (Manual, &[], Err(NO_STREAM)),
            (Unsubscribe, &bulk, Ok("offers")),
            (Complaint, &bulk, Ok("offers")),
            (Unsubscribe, &reset, Ok("news offers")),
        ] {
            let found = words(&unnamed, reason, pools);
            assert_eq!(found, expected.map(str::to_owned), "{reason:?} {pools:?}");
        }
        let named = scopes(&both, Some("news"));
        assert_eq!(words(&named, Complaint, &[]), Ok("news".to_owned()));
        assert_eq!(words(&named, Unsubscribe, &[]), Ok("news".to_owned()));
        let alone = scopes(&both[..1], None);
        assert_eq!(words(&alone, Unsubscribe, &[]), Ok("news".to_owned()));
        let none = scopes(&[], None);
        assert_eq!(words(&none, Complaint, &[]), Err(NO_CAMPAIGN));
        assert_eq!(words(&none, HardBounce, &[]), Ok("global".to_owned()));
    }
}
