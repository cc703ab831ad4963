//! The rules against replies of real servers (`testdata/bounces`), and the figures in
//! docs/classification.md.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use malote_core::event::Blame;

use super::{Refusal, blame};

const TEXTS: [&str; 2] = [
    include_str!("../../testdata/bounces/collected.tsv"),
    include_str!("../../testdata/bounces/pages.tsv"),
];
const PAGE: &str = "../../docs/classification.md";
const BEGIN: &str = "<!-- figures: begin -->\n";
const END: &str = "<!-- figures: end -->\n";

/// Floors of the held-out part, in percent; a change of the rules may raise them, never lower them.
const ACCURACY_FLOOR: usize = 91;
const RECALL_FLOOR: usize = 87;

struct Labelled {
    is_held_out: bool,
    blame: Blame,
    code: Option<u16>,
    status: Option<&'static str>,
    text: &'static str,
}

fn labelled() -> Vec<Labelled> {
    let lines = TEXTS.iter().flat_map(|file| file.lines());
    let lines = lines.filter(|line| !line.starts_with('#'));
    lines.map(read).collect()
}

fn read(line: &'static str) -> Labelled {
    let fields: Vec<&str> = line.split('\t').collect();
    let [part, blame, code, status, text, source] = fields[..] else {
        panic!("six fields: {line}");
    };
    assert!(matches!(part, "written" | "held_out"), "{line}");
    assert!(
        !text.is_empty() && text.len() <= 256 && source.contains('/'),
        "{line}"
    );
    Labelled {
        is_held_out: part == "held_out",
        blame: Blame::from_word(blame).unwrap_or_else(|| panic!("a blame: {line}")),
        code: (code != "-").then(|| code.parse().unwrap()),
        status: (status != "-").then_some(status),
        text,
    }
}

/// Hits by what it is and what it was called.
#[derive(Default)]
struct Score {
    hits: BTreeMap<(Blame, Blame), usize>,
}

impl Score {
    fn of(texts: impl Iterator<Item = &'static Labelled>) -> Self {
        let mut score = Self::default();
        for line in texts {
            let called = blame(Refusal {
                code: line.code,
                enhanced: line.status,
                text: line.text,
            });
            let called = called.unwrap_or(Blame::Unknown);
            *score.hits.entry((line.blame, called)).or_default() += 1;
        }
        score
    }

    fn count(&self, wanted: impl Fn(Blame, Blame) -> bool) -> usize {
        let hits = self.hits.iter();
        hits.filter(|((is, called), _)| wanted(*is, *called))
            .map(|(_, n)| n)
            .sum()
    }

    fn total(&self) -> usize {
        self.count(|_, _| true)
    }

    fn accuracy(&self) -> usize {
        self.count(|is, called| is == called) * 1000 / self.total()
    }

    fn wrongly_recipient(&self) -> usize {
        self.count(|is, called| is != Blame::Recipient && called == Blame::Recipient)
    }

    /// In thousandths, of what was called `recipient` and of what is.
    fn precision_and_recall(&self) -> (usize, usize) {
        let right = self.count(|is, called| is == Blame::Recipient && called == is);
        let called = self.count(|_, called| called == Blame::Recipient);
        let is = self.count(|is, _| is == Blame::Recipient);
        (right * 1000 / called, right * 1000 / is)
    }

    fn row(&self, name: &str) -> String {
        let (precision, recall) = self.precision_and_recall();
        let percent = |n: usize| format!("{}.{} %", n / 10, n % 10);
        format!(
            "| {name} | {} | {} | {} | {} | {} |\n",
            self.total(),
            percent(self.accuracy()),
            percent(precision),
            percent(recall),
            self.wrongly_recipient()
        )
    }

    fn confusion(&self) -> String {
        let mut table = String::from("| is \\ called |");
        for called in Blame::ALL {
            write!(table, " {} |", called.as_str()).unwrap();
        }
        table.push_str("\n|---|");
        table.push_str(&"---|".repeat(Blame::ALL.len()));
        table.push('\n');
        for is in Blame::ALL {
            write!(table, "| {} |", is.as_str()).unwrap();
            for called in Blame::ALL {
                let n = self.hits.get(&(is, called)).copied().unwrap_or_default();
                write!(table, " {n} |").unwrap();
            }
            table.push('\n');
        }
        table
    }
}

fn scores() -> (Score, Score) {
    let lines: &'static [Labelled] = Vec::leak(labelled());
    let written = Score::of(lines.iter().filter(|line| !line.is_held_out));
    let held_out = Score::of(lines.iter().filter(|line| line.is_held_out));
    (written, held_out)
}

#[test]
fn no_reply_of_the_corpus_is_wrongly_the_recipients_fault_and_the_rules_hold_their_floors() {
    let (written, held_out) = scores();
    println!("{}", held_out.confusion());
    println!("{}{}", written.row("written"), held_out.row("held out"));
    assert_eq!(written.wrongly_recipient(), 0);
    assert_eq!(held_out.wrongly_recipient(), 0);
    assert!(held_out.accuracy() >= ACCURACY_FLOOR * 10);
    assert!(held_out.precision_and_recall().1 >= RECALL_FLOOR * 10);
    assert!(written.total() >= 450 && held_out.total() >= 240);
}

#[test]
fn the_page_shows_the_figures_of_this_test() {
    let (written, held_out) = scores();
    let mut figures = String::from(
        "| texts | number | right | precision of `recipient` | recall of `recipient` | wrongly `recipient` |\n\
         |---|---|---|---|---|---|\n",
    );
    figures.push_str(&written.row("rules were written from"));
    figures.push_str(&held_out.row("held out"));
    write!(figures, "\nThe held-out texts:\n\n{}", held_out.confusion()).unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let page = std::fs::read_to_string(&path).unwrap();
    let (head, rest) = page.split_once(BEGIN).unwrap();
    let (shown, tail) = rest.split_once(END).unwrap();
    if std::env::var_os("MALOTE_WRITE_PAGES").is_some() {
        std::fs::write(&path, format!("{head}{BEGIN}{figures}{END}{tail}")).unwrap();
        return;
    }
    assert_eq!(shown, figures, "MALOTE_WRITE_PAGES=1 renews {PAGE}");
}
