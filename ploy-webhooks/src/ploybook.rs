//! A Ploybook: a named definition of what is run, how, and on what terms.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The name of a Ploybook, by which triggers know it: 1 to 200 characters, none of them a control
/// character, without blanks at its ends.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PloybookName(Arc<str>);

/// A text that is not the name of a Ploybook.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error(
    "not the name of a Ploybook: expected 1 to 200 characters, no control characters, no blanks \
     at its ends, and neither `.` nor `..`"
)]
pub struct ParsePloybookNameError;

impl PloybookName {
    const CHARS_MAX: usize = 200;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PloybookName {
    type Err = ParsePloybookNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_name = !text.is_empty()
            && text.trim() == text
            && text.chars().count() <= Self::CHARS_MAX
            && !text.chars().any(char::is_control)
            // As the segment of a path these two are resolved away (RFC 3986 §5.2.4).
            && !matches!(text, "." | "..");
        if is_name { Ok(Self(text.into())) } else { Err(ParsePloybookNameError) }
    }
}

impl TryFrom<String> for PloybookName {
    type Error = ParsePloybookNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PloybookName> for String {
    fn from(name: PloybookName) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl fmt::Display for PloybookName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PloybookName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// A definition of what is run, how, and on what terms.
///
/// Kept as JSON, under its name:
/// `{"run":{"command":{"argv":["make-page"]}},"instructions":"…","time_limit_seconds":120}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Ploybook {
    /// For people.
    #[serde(default)]
    pub description: String,
    /// Whether it may be run. What is wired to one that may not fails, and says so.
    #[serde(default = "enabled")]
    pub enabled: bool,
    /// How it is run.
    pub run: Means,
    /// What whoever carries it out is told to do.
    #[serde(default)]
    pub instructions: String,
    /// How long one attempt may take: 1 second to 24 hours.
    #[serde(default = "default_time_limit", rename = "time_limit_seconds", with = "seconds")]
    pub time_limit: Duration,
    /// How often it is tried.
    #[serde(default)]
    pub retry: RetryPolicy,
    /// Whether a payload of the form `{"data":{"message":…,"context":…}}` is a request, with its
    /// context as data. Otherwise the whole payload is data, whatever its form.
    #[serde(default = "enabled")]
    pub takes_requests: bool,
}

/// How a Ploybook is run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Means {
    /// A function of the app, by a name that the app has given it.
    Function(String),
    /// A program with its arguments. No shell has a hand in it.
    Command {
        /// The program, and what it is given.
        argv: Vec<String>,
        /// The folder that it is run in; `None` is that of the process.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        folder: Option<String>,
    },
    /// A POST to an engine.
    Http {
        /// Where it is sent.
        url: String,
        /// The environment variable that holds the secret which signs it; `None` signs nothing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        secret_env: Option<String>,
        /// Whether nothing within the operator's own network may be reached by it: set where
        /// others than the operator say where to.
        #[serde(default, skip_serializing_if = "is_not")]
        public_only: bool,
    },
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "that is how serde asks")]
const fn is_not(flag: &bool) -> bool {
    !*flag
}

const fn enabled() -> bool {
    true
}

const fn default_time_limit() -> Duration {
    Ploybook::TIME_LIMIT_DEFAULT
}

mod seconds {
    //! A duration as whole seconds.

    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(duration.as_secs())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_secs)
    }
}

/// What is wrong with a Ploybook, for who defines it.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PloybookError {
    /// The description is too long.
    #[error("`description` has at most 500 characters")]
    Description,
    /// The instructions are too long.
    #[error("`instructions` has at most 65536 bytes")]
    Instructions,
    /// The time limit is out of bounds.
    #[error("`time_limit_seconds` is 1 to 86400 (a day)")]
    TimeLimit,
    /// The retry policy is out of bounds.
    #[error("`retry` has at most 100 attempts and gaps of at most 86400 seconds (a day)")]
    Retry,
    /// The command is empty or too long, or has a NUL in it.
    #[error(
        "`run.command.argv` has 1 to 64 texts, the first of which names a program, none of them \
         longer than 4096 bytes or with a NUL in it"
    )]
    Command,
    /// The URL is none.
    #[error("`run.http.url` is not an http or https URL of at most 2048 bytes")]
    Url,
    /// The name of a function or of an environment variable is none.
    #[error("`run.function` and `run.http.secret_env` have 1 to 100 visible ASCII characters")]
    Name,
}

impl Ploybook {
    /// The time limit where none is set: a minute.
    pub const TIME_LIMIT_DEFAULT: Duration = Duration::from_secs(60);
    /// The longest time limit: a day.
    pub const TIME_LIMIT_MAX: Duration = Duration::from_secs(86_400);

    /// One that is run in that way, on the usual terms and without instructions.
    #[must_use]
    pub fn new(run: Means) -> Self {
        Self {
            description: String::new(),
            enabled: true,
            run,
            instructions: String::new(),
            time_limit: Self::TIME_LIMIT_DEFAULT,
            retry: RetryPolicy::default(),
            takes_requests: true,
        }
    }

    /// Whether everything is within its bounds.
    ///
    /// # Errors
    ///
    /// The first bound that is broken.
    pub fn check(&self) -> Result<(), PloybookError> {
        if self.description.chars().count() > 500 {
            Err(PloybookError::Description)
        } else if self.instructions.len() > 65_536 {
            Err(PloybookError::Instructions)
        } else if self.time_limit.is_zero() || self.time_limit > Self::TIME_LIMIT_MAX {
            Err(PloybookError::TimeLimit)
        } else if !self.retry.is_within_bounds() {
            Err(PloybookError::Retry)
        } else {
            self.run.check()
        }
    }
}

impl Means {
    fn check(&self) -> Result<(), PloybookError> {
        let is_name = |text: &str| {
            (1..=100).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
        };
        match self {
            Self::Function(name) if is_name(name) => Ok(()),
            Self::Function(_) => Err(PloybookError::Name),
            Self::Command { argv, folder } => {
                let is_text = |text: &String| text.len() <= 4_096 && !text.contains('\0');
                let is_command = (1..=64).contains(&argv.len())
                    && !argv[0].is_empty()
                    && argv.iter().chain(folder).all(is_text);
                if is_command { Ok(()) } else { Err(PloybookError::Command) }
            }
            Self::Http { url, secret_env, .. } => {
                let scheme = url.split_once("://").map(|(scheme, _)| scheme);
                let is_url = url.len() <= 2_048
                    && scheme.is_some_and(|scheme| {
                        ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known))
                    })
                    && url.parse::<http::Uri>().is_ok_and(|url| url.host().is_some());
                if !is_url {
                    Err(PloybookError::Url)
                } else if secret_env.as_deref().is_none_or(is_name) {
                    Ok(())
                } else {
                    Err(PloybookError::Name)
                }
            }
        }
    }
}

/// How often a run is tried, and how long apart.
///
/// In JSON `{"attempts_max":4,"first_gap_seconds":5,"gap_max_seconds":3600}`, or
/// `{"gaps_seconds":[5,300,1800]}` where each gap is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RetryForm", into = "RetryForm")]
#[non_exhaustive]
pub struct RetryPolicy {
    /// Attempts in all, the first included.
    pub attempts_max: NonZeroU16,
    /// How long apart.
    pub gaps: Gaps,
}

/// How long apart attempts are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "gaps follow a rule or are given")]
pub enum Gaps {
    /// Each gap is twice the one before.
    Doubling {
        /// The gap after the first attempt.
        first: Duration,
        /// No gap is longer.
        max: Duration,
    },
    /// One after each attempt but the last; where there are more attempts than that, the last gap
    /// is repeated.
    Listed(Arc<[Duration]>),
}

impl Default for RetryPolicy {
    /// Four attempts, with gaps of 5, 10 and 20 seconds.
    fn default() -> Self {
        Self {
            attempts_max: NonZeroU16::new(4).expect("four is not zero"),
            gaps: Gaps::Doubling { first: Duration::from_secs(5), max: Duration::from_secs(3_600) },
        }
    }
}

impl RetryPolicy {
    /// One with these gaps, and so one attempt more than there are gaps.
    #[must_use]
    pub fn listed(gaps: impl Into<Arc<[Duration]>>) -> Self {
        let gaps = gaps.into();
        let attempts = u16::try_from(gaps.len()).unwrap_or(u16::MAX);
        let attempts_max = NonZeroU16::MIN.saturating_add(attempts);
        Self { attempts_max, gaps: Gaps::Listed(gaps) }
    }

    /// How long to wait after the attempt with that number (the first is 1). Of the gap, `jitter`
    /// decides the second half: from 0 (half of it) to 1 (all of it), so that what failed together
    /// is not tried again together.
    #[must_use]
    pub fn gap_after(&self, attempt: u32, jitter: f64) -> Duration {
        let before = attempt.saturating_sub(1);
        let gap = match &self.gaps {
            Gaps::Doubling { first, max } => first.saturating_mul(1 << before.min(31)).min(*max),
            Gaps::Listed(gaps) => {
                let at = usize::try_from(before).unwrap_or(usize::MAX).min(gaps.len().max(1) - 1);
                gaps.get(at).copied().unwrap_or_default()
            }
        };
        gap.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0))
    }

    /// Whether there are at most 100 attempts, and no gap is longer than a day.
    #[must_use]
    pub fn is_within_bounds(&self) -> bool {
        const DAY: Duration = Duration::from_secs(86_400);
        let longest = match &self.gaps {
            Gaps::Doubling { first, max } => *first.max(max),
            Gaps::Listed(gaps) => gaps.iter().max().copied().unwrap_or_default(),
        };
        self.attempts_max.get() <= 100 && longest <= DAY
    }
}

/// A retry policy's form in JSON. What is left out is that of the default.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RetryForm {
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts_max: Option<NonZeroU16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_gap_seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gap_max_seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gaps_seconds: Option<Vec<u32>>,
}

impl TryFrom<RetryForm> for RetryPolicy {
    type Error = &'static str;

    fn try_from(form: RetryForm) -> Result<Self, Self::Error> {
        let RetryForm { attempts_max, first_gap_seconds, gap_max_seconds, gaps_seconds } = form;
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        let Some(gaps) = gaps_seconds else {
            let gap =
                |given: Option<u32>, usual: u64| given.map_or(Duration::from_secs(usual), seconds);
            return Ok(Self {
                attempts_max: attempts_max.unwrap_or(Self::default().attempts_max),
                gaps: Gaps::Doubling {
                    first: gap(first_gap_seconds, 5),
                    max: gap(gap_max_seconds, 3_600),
                },
            });
        };
        if attempts_max.is_some() || first_gap_seconds.is_some() || gap_max_seconds.is_some() {
            return Err("`gaps_seconds` says how often it is tried, and stands alone");
        }
        Ok(Self::listed(gaps.into_iter().map(seconds).collect::<Vec<_>>()))
    }
}

impl From<RetryPolicy> for RetryForm {
    fn from(policy: RetryPolicy) -> Self {
        let seconds = |gap: &Duration| u32::try_from(gap.as_secs()).unwrap_or(u32::MAX);
        match &policy.gaps {
            Gaps::Doubling { first, max } => Self {
                attempts_max: Some(policy.attempts_max),
                first_gap_seconds: Some(seconds(first)),
                gap_max_seconds: Some(seconds(max)),
                gaps_seconds: None,
            },
            Gaps::Listed(gaps) => {
                Self { gaps_seconds: Some(gaps.iter().map(seconds).collect()), ..Self::default() }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for text in ["page", "Generate ABM page for prospect", "a/b → 'c'", "é"] {
            assert!(text.parse::<PloybookName>().is_ok(), "{text}");
        }
        for text in ["", " a", "a ", "a\nb", ".", "..", &"é".repeat(201)] {
            assert_eq!(text.parse::<PloybookName>(), Err(ParsePloybookNameError), "{text}");
        }
    }

    #[test]
    fn ploybooks_keep_their_json_form() {
        let form = serde_json::json!({
            "description": "Pages", "enabled": false,
            "run": {"command": {"argv": ["make-page", "--fast"]}},
            "instructions": "Make a page.", "time_limit_seconds": 120,
            "retry": {"attempts_max": 2, "first_gap_seconds": 1, "gap_max_seconds": 9},
            "takes_requests": false,
        });
        let ploybook: Ploybook = serde_json::from_value(form.clone()).unwrap();
        assert_eq!(ploybook.check(), Ok(()));
        assert_eq!(serde_json::to_value(ploybook).unwrap(), form);
        let least = serde_json::json!({"run": {"function": "page"}});
        let ploybook: Ploybook = serde_json::from_value(least).unwrap();
        assert_eq!(ploybook, Ploybook::new(Means::Function("page".to_owned())));
    }

    #[test]
    fn what_is_out_of_bounds_is_named() {
        let with = |run| Ploybook::new(run).check();
        let http =
            |url: &str| Means::Http { url: url.to_owned(), secret_env: None, public_only: false };
        assert_eq!(with(http("https://engine.example/run?x=1")), Ok(()));
        for url in ["", "engine.example", "ftp://a/b", "http://", "https://a b"] {
            assert_eq!(with(http(url)), Err(PloybookError::Url), "{url}");
        }
        let command = |argv: &[&str]| Means::Command {
            argv: argv.iter().map(ToString::to_string).collect(),
            folder: None,
        };
        assert_eq!(with(command(&["true"])), Ok(()));
        for argv in [&[][..], &[""], &["a\0"], &["a"; 65]] {
            assert_eq!(with(command(argv)), Err(PloybookError::Command), "{argv:?}");
        }
        assert_eq!(with(Means::Function(String::new())), Err(PloybookError::Name));
        let mut ploybook = Ploybook::new(Means::Function("page".to_owned()));
        ploybook.time_limit = Duration::ZERO;
        assert_eq!(ploybook.check(), Err(PloybookError::TimeLimit));
    }

    #[test]
    fn gaps_double_up_to_the_longest() {
        let (first, max) = (Duration::from_secs(5), Duration::from_secs(30));
        let gaps = Gaps::Doubling { first, max };
        let policy = RetryPolicy { gaps, ..RetryPolicy::default() };
        let whole: Vec<_> = (1..=5).map(|n| policy.gap_after(n, 1.0).as_secs()).collect();
        assert_eq!(whole, [5, 10, 20, 30, 30]);
        assert_eq!(policy.gap_after(2, 0.0), Duration::from_secs(5));
        assert_eq!(policy.gap_after(u32::MAX, 7.0), Duration::from_secs(30));
    }

    #[test]
    fn gaps_may_be_given_one_by_one() {
        let form = serde_json::json!({"gaps_seconds": [5, 300, 7]});
        let policy: RetryPolicy = serde_json::from_value(form.clone()).unwrap();
        assert_eq!(policy.attempts_max.get(), 4);
        let whole: Vec<_> = (1..=4).map(|n| policy.gap_after(n, 1.0).as_secs()).collect();
        assert_eq!(whole, [5, 300, 7, 7]);
        assert_eq!(serde_json::to_value(&policy).unwrap(), form);
        assert_eq!(RetryPolicy::listed([]).gap_after(1, 1.0), Duration::ZERO);
        let both = serde_json::json!({"gaps_seconds": [5], "attempts_max": 9});
        assert!(serde_json::from_value::<RetryPolicy>(both).is_err());
        let usual: RetryPolicy = serde_json::from_str("{}").unwrap();
        assert_eq!(usual, RetryPolicy::default());
    }
}
