//! What we suppress, put on a service's list where it lacks it. Nothing is taken off.

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use malote_core::address::EmailAddress;
use malote_core::name::{PoolName, StreamName};
use malote_core::provider::Verdict;
use malote_core::service_list::{Addition, Reach, Taking};
use malote_core::stream::Class;
use malote_core::suppression::{SuppressionPlace, SuppressionQuery, source_of};
use malote_store::Shared;

use super::reader::{Reader, patiently, said};
use super::{Access, Account, Opened, Ours, ServiceListArgs, open};
use crate::admin::api::SuppressionBody;
use crate::cli::exit::{Failure, Outcome};
use crate::cli::progress::Progress;
use crate::cli::{out, suppressions};

const HEAD: [&str; 4] = ["REASON", "HERE", "PUSHED", "ALREADY THERE"];
const HEAD_DRY: [&str; 4] = ["REASON", "HERE", "LACKING", "ALREADY THERE"];
/// Our entries read at once.
const PAGE: u16 = 1_000;
/// Lacking entries that a dry run shows.
const SHOWN_MAX: usize = 10;
const ERASED: &str = "erased: only a hash is left";
const OWN: &str = "told by this service";
const ENDS: &str = "ends by itself, which the service's entries do not";
const OTHER_STREAM: &str = "of a campaign stream: give --stream NAME";
const NO_PART: &str = "the stream's pools have no part of the service's list of their own";

/// Runs `malote suppressions push`.
pub(crate) async fn push(args: ServiceListArgs) -> Outcome {
    let opened = open(&args, Access::Read).await?;
    let takes = opened.list.manners().takes;
    let takes = takes.map_err(|why| {
        Failure::Usage(format!("nothing can be pushed to {}: {why}", opened.name))
    })?;
    let pools = pools_of(&opened, takes, args.stream.as_ref())?;
    let mut pushing = Pushing {
        there: There::default(),
        account: Account::of(&opened, &args),
        stream: args.stream.clone(),
        is_dry: args.dry_run,
        batch: Vec::new(),
        first: Vec::new(),
        opened: &opened,
        takes,
        pools,
    };
    let ended = pushing.run().await;
    let Pushing { account, first, .. } = pushing;
    if args.json {
        out::json(&account)?;
    } else {
        if !first.is_empty() {
            suppressions::print(&first)?;
            out::text("")?;
        }
        let becomes = takes.becomes;
        out::text(&format!("at the service an address becomes {becomes}"))?;
        account.print(if args.dry_run { &HEAD_DRY } else { &HEAD })?;
    }
    ended.map_err(|failure| match failure {
        Failure::Failed(error) => Failure::Failed(error.context(
            "stopped; what was pushed stands at the service, and the command may be repeated",
        )),
        other @ (Failure::Usage(_) | Failure::Nothing(_)) => other,
    })
}

/// The pools by which the named stream's mail leaves through the provider.
///
/// # Errors
/// Exit code 2 if a list of the whole account would stop transactional mail with it.
fn pools_of(opened: &Opened, takes: Taking, stream: Option<&StreamName>) -> Outcome<Vec<PoolName>> {
    let Some(stream) = stream else {
        return Ok(Vec::new());
    };
    let (name, router) = (&opened.name, &opened.config.router);
    let pools = router.pools_at(stream, name).cloned().collect();
    if takes.spares_transactional {
        return Ok(pools);
    }
    for (other, own) in &opened.config.streams {
        if other == stream || !router.reaches(other, name) {
            continue;
        }
        match own.class {
            Class::Transactional => {
                return Err(Failure::Usage(format!(
                    "the list of {name} is of the whole account, and the transactional stream \
                     {other} leaves through it, too: entries of {stream} would stop its mail. \
                     Leave out --stream to push global entries only"
                )));
            }
            Class::Campaign => eprintln!(
                "the list of {name} is of the whole account: entries of {stream} stop {other}, too"
            ),
        }
    }
    Ok(pools)
}

/// What is on the service's list, as hashes: it may be long.
#[derive(Default)]
struct There {
    hashes: HashSet<u128>,
    hashers: (RandomState, RandomState),
}

impl There {
    fn hash(&self, part: &str, address: &EmailAddress) -> u128 {
        let key = (part, address.key());
        let high = u128::from(self.hashers.0.hash_one(&key));
        (high << 64) | u128::from(self.hashers.1.hash_one(&key))
    }

    fn add(&mut self, part: &str, address: &EmailAddress) {
        let hash = self.hash(part, address);
        self.hashes.insert(hash);
    }

    fn has(&self, part: &str, address: &EmailAddress) -> bool {
        self.hashes.contains(&self.hash(part, address))
    }
}

struct Pushing<'a> {
    opened: &'a Opened,
    takes: Taking,
    there: There,
    stream: Option<StreamName>,
    pools: Vec<PoolName>,
    is_dry: bool,
    batch: Vec<Addition>,
    first: Vec<SuppressionBody>,
    account: Account,
}

impl Pushing<'_> {
    async fn run(&mut self) -> Outcome {
        let mut reader = Reader::of(self.opened.list.clone());
        let mut progress = Progress::start("read of the service's list", None);
        while let Some(page) = reader.page().await? {
            for entry in page.iter().filter(|entry| entry.meaning.stops_mail()) {
                if let Ok(address) = EmailAddress::parse(entry.address.trim()) {
                    self.there.add(&entry.part, &address);
                }
            }
            progress.at(0, reader.entries());
        }
        progress.end();
        let mut progress = Progress::start("of ours looked at", None);
        let mut place = Some(After::Begin);
        while let Some(after) = place {
            let (page, next) = self.ours(after).await?;
            for entry in page {
                self.take(entry).await?;
            }
            progress.at(0, self.account.read);
            place = next;
        }
        self.flush().await?;
        progress.end();
        Ok(())
    }

    /// A page of our own list.
    async fn ours(&self, after: After) -> Outcome<(Vec<SuppressionBody>, Option<After>)> {
        match &self.opened.ours {
            Ours::Gateway(client) => {
                let cursor = match after {
                    After::Cursor(cursor) => Some(cursor),
                    After::Begin | After::Place(_) => None,
                };
                let page = suppressions::page(client, PAGE, cursor).await?;
                let next = page.next_cursor.map(After::Cursor);
                Ok((page.suppressions, next))
            }
            Ours::Store(store) => {
                let after = match after {
                    After::Place(place) => Some(place),
                    After::Begin | After::Cursor(_) => None,
                };
                let query = SuppressionQuery {
                    after,
                    limit: PAGE.into(),
                    ..SuppressionQuery::default()
                };
                let page = Shared::suppressions(store.as_ref(), &query).await?;
                let last = page.last().filter(|_| page.len() == usize::from(PAGE));
                let next =
                    last.map(|last| After::Place((last.address.clone(), last.scope.clone())));
                Ok((page.into_iter().map(Into::into).collect(), next))
            }
        }
    }

    async fn take(&mut self, entry: SuppressionBody) -> Outcome {
        self.account.read += 1;
        let addition = match self.addition(&entry) {
            Ok(addition) => addition,
            Err(why) => {
                self.account.leave_out(why, 1);
                return Ok(());
            }
        };
        let parts = self.opened.list.parts(&addition.reach);
        if parts.is_empty() {
            self.account.leave_out(NO_PART, 1);
            return Ok(());
        }
        let is_there = |part: &String| self.there.has(part, &addition.address);
        let is_there = parts.iter().all(is_there);
        let counts = self.account.counts(entry.reason);
        counts.read += 1;
        if is_there {
            counts.already += 1;
            return Ok(());
        }
        for part in &parts {
            self.there.add(part, &addition.address);
        }
        if self.is_dry {
            self.account.counts(entry.reason).new += 1;
            if self.first.len() < SHOWN_MAX {
                self.first.push(entry);
            }
            return Ok(());
        }
        self.batch.push(addition);
        if self.batch.len() >= self.takes.batch_max {
            self.flush().await?;
        }
        Ok(())
    }

    fn addition(&self, entry: &SuppressionBody) -> Result<Addition, &'static str> {
        let Some(address) = entry.address.known() else {
            return Err(ERASED);
        };
        if entry.source.as_deref() == Some(&source_of(&self.opened.name)) {
            return Err(OWN);
        }
        if entry.expires_at.is_some() {
            return Err(ENDS);
        }
        let reach = match &entry.stream {
            None => Reach::Everything,
            Some(stream) if self.stream.as_ref() == Some(stream) => {
                Reach::Campaigns(self.pools.clone())
            }
            Some(_) => return Err(OTHER_STREAM),
        };
        Ok(Addition {
            address: address.clone(),
            reason: entry.reason,
            reach,
        })
    }

    /// Pushes what waits. A batch that is refused for one of its addresses goes one by one.
    async fn flush(&mut self) -> Outcome {
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return Ok(());
        }
        if self.push(&batch).await? || batch.len() == 1 {
            return Ok(());
        }
        for addition in batch {
            self.push(std::slice::from_ref(&addition)).await?;
        }
        Ok(())
    }

    /// Whether the batch was taken; one that was refused is counted if it is a single address.
    async fn push(&mut self, batch: &[Addition]) -> Outcome<bool> {
        let list = &self.opened.list;
        tokio::time::sleep(list.manners().pause).await;
        let (refused, why) = match patiently(async || list.add(batch).await).await {
            Ok(added) => (added.refused, added.why.unwrap_or_default()),
            Err(error) if matches!(error.verdict, Verdict::Rejected(_)) => {
                if batch.len() > 1 {
                    return Ok(false);
                }
                (1, error.reply.without_local_parts())
            }
            Err(error) => return Err(Failure::failed(said(&error))),
        };
        self.account
            .leave_out(&format!("refused by the service: {why}"), refused);
        // Which of them were refused is told by no service for every answer.
        let taken = batch.len() - usize::try_from(refused).unwrap_or(0).min(batch.len());
        for addition in &batch[..taken] {
            self.account.counts(addition.reason).new += 1;
        }
        Ok(true)
    }
}

/// Behind what our list goes on.
enum After {
    Begin,
    Cursor(String),
    Place(SuppressionPlace),
}
