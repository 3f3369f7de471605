//! Lists, a page at a time: how one is asked for, and how it is shown.

use clap::Args;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Failure;
use super::client::parse;
use super::output::{harmless, print, table};

/// Which page of a list is asked for.
#[derive(Debug, Args)]
pub(super) struct PageArgs {
    /// How many, 1 to 200.
    #[arg(long)]
    limit: Option<u16>,
    /// Where the list before ended.
    #[arg(long)]
    cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
struct List<R> {
    data: Vec<R>,
    next_cursor: Option<String>,
}

impl PageArgs {
    pub(super) fn query(&self) -> [(&'static str, Option<String>); 2] {
        [("limit", self.limit.map(|limit| limit.to_string())), ("cursor", self.cursor.clone())]
    }
}

/// Prints the page that was answered as a table, and where it goes on.
pub(super) fn print_list<R: DeserializeOwned, const N: usize>(
    answer: &[u8],
    header: [&str; N],
    cells: impl Fn(R) -> [String; N],
) -> Result<(), Failure> {
    let list: List<R> = parse(answer)?;
    print(&table(header, list.data.into_iter().map(cells)))?;
    if let Some(cursor) = list.next_cursor {
        eprintln!("more with --cursor {}", harmless(&cursor));
    }
    Ok(())
}
