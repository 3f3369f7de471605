//! What a program says is kept up to a bound, however much it is.

use std::fs;
use std::time::Duration;

use ploy_webhooks::trigger::Remedy;

use crate::scene::{command, job, script, settings};

/// The most memory that this process ever had, in KiB.
fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("it is there");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().strip_suffix(" kB").expect("in KiB").parse().expect("a number")
}

#[tokio::test]
async fn a_huge_output_is_cut_and_the_rest_is_counted() {
    let huge = command(["head", "-c", "500000000", "/dev/zero"]);
    let output = huge.carry_out(&job("{}"), &settings()).await.unwrap().into_bytes();
    let kept = (64 << 10) - 64;
    let (zeros, note) = output.split_at(kept);
    assert!(zeros.iter().all(|byte| *byte == 0));
    let expected = format!("\n… ({} more bytes are not kept)", 500_000_000 - kept);
    assert_eq!(std::str::from_utf8(note).unwrap(), expected);
    assert!(peak_memory() < 300 << 10, "{} KiB", peak_memory());
}

#[tokio::test]
async fn an_endless_output_ends_with_its_time() {
    let mut job = job("{}");
    job.time_limit = Duration::from_secs(1);
    let error = command(["yes"]).carry_out(&job, &settings()).await.unwrap_err();
    assert_eq!(error.remedy(), Remedy::Again);
    assert!(peak_memory() < 300 << 10, "{} KiB", peak_memory());
}

#[tokio::test]
async fn the_end_of_what_went_wrong_is_on_record() {
    let error = script("echo first; echo 'no such page' >&2; exit 1").await.unwrap_err();
    assert_eq!(error.to_string(), "the program ended with exit status 1\nno such page");

    let error = script("yes 'é' | head -c 999999 >&2; echo the end >&2; exit 1").await.unwrap_err();
    let text = error.to_string();
    let tail = text.strip_prefix("the program ended with exit status 1\n… ").unwrap();
    assert!(tail.ends_with("é\nthe end"), "{tail}");
    assert!((4_000..=4_200).contains(&tail.len()), "{}", tail.len());
}

#[tokio::test]
async fn what_is_no_text_can_go_wrong_too() {
    let error = script(r"printf '\377\000oops' >&2; exit 1").await.unwrap_err();
    assert_eq!(error.to_string(), "the program ended with exit status 1\n\u{fffd}\0oops");
}

#[tokio::test]
async fn a_program_may_close_what_it_speaks_on() {
    assert_eq!(script("echo said; exec >&- 2>&-; sleep 0.2; exit 0").await.unwrap(), "said\n");
}
