//! What the end of a program means for its attempt.

use std::io;

use rustix::io::Errno;

use super::wire::Report;
use crate::trigger::RunError;

/// `Ok` where the program has done its work; otherwise what is known of why it has not.
pub(super) fn verdict(report: Report, program: &str, last_words: &str) -> Result<(), RunError> {
    let (message, is_permanent) = match report {
        Report::Exit(0) => return Ok(()),
        Report::Exit(code) => {
            (format!("the program ended with exit status {code}"), is_permanent_exit(code))
        }
        Report::Signal(signal) => (format!("the program was ended by signal {signal}"), false),
        Report::NotStarted(error) => {
            (format!("cannot start `{program}`: {}", text_of(error)), is_permanent_error(error))
        }
        Report::NoFolder(error) => {
            let text = text_of(error);
            let message = format!("cannot enter the folder that `{program}` is run in: {text}");
            (message, is_permanent_error(error))
        }
        Report::NoGuard(error) => {
            let text = text_of(error);
            (format!("nothing can be guarded here, so `{program}` is not run: {text}"), false)
        }
    };
    let message = if last_words.is_empty() { message } else { format!("{message}\n{last_words}") };
    Err(if is_permanent { RunError::permanent(message) } else { RunError::retry(message) })
}

/// Whether that status says that another attempt would not help.
const fn is_permanent_exit(code: i32) -> bool {
    match code {
        // EX_UNAVAILABLE, EX_OSERR, EX_IOERR and EX_TEMPFAIL: not for now.
        69 | 71 | 74 | 75 => false,
        // The rest of sysexits.h; and what POSIX has shells and `env` say of a program that
        // cannot be executed or found.
        64..=78 | 126 | 127 => true,
        _ => false,
    }
}

/// Whether a program that was not started for that reason would not be later either.
fn is_permanent_error(error: i32) -> bool {
    [
        Errno::NOENT,
        Errno::ACCESS,
        Errno::PERM,
        Errno::NOEXEC,
        Errno::NOTDIR,
        Errno::ISDIR,
        Errno::LOOP,
        Errno::NAMETOOLONG,
        Errno::TOOBIG,
        Errno::INVAL,
    ]
    .iter()
    .any(|permanent| permanent.raw_os_error() == error)
}

fn text_of(error: i32) -> String {
    match error {
        0 => "an error without a number".to_owned(),
        error => io::Error::from_raw_os_error(error).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trigger::Remedy;

    #[test]
    fn every_status_means_what_the_table_says() {
        let remedy = |code| verdict(Report::Exit(code), "it", "").map_err(|it| it.remedy());
        assert_eq!(remedy(0), Ok(()));
        for code in 1..=255 {
            let is_permanent = matches!(code, 64..=68 | 70 | 72 | 73 | 76..=78 | 126 | 127);
            let expected = if is_permanent { Remedy::None } else { Remedy::Again };
            assert_eq!(remedy(code), Err(expected), "{code}");
        }
    }

    #[test]
    fn what_is_there_for_now_only_is_tried_again() {
        let remedy = |error: Errno| {
            let report = Report::NotStarted(error.raw_os_error());
            verdict(report, "it", "").map_err(|it| it.remedy())
        };
        assert_eq!(remedy(Errno::NOENT), Err(Remedy::None));
        for error in [Errno::AGAIN, Errno::NOMEM, Errno::MFILE, Errno::TXTBSY] {
            assert_eq!(remedy(error), Err(Remedy::Again));
        }
    }
}
