//! `strftime_now`: the date a template may write into a system prompt.

use std::fmt::Write as _;
use std::time::SystemTime;

const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Formats seconds since 1970 (UTC: the standard library knows no time zone) like C's `strftime` in the C locale.
///
/// Known: every directive of Python's `strftime` in the C locale, and `-` before a number drops its padding. Others are
/// left as they are. The time zone is that of a Python `datetime` without one: `%z` and `%Z` are empty.
pub(crate) fn format(pattern: &str, now: SystemTime) -> String {
    // A clock before 1970 shows 1970; one beyond the year 9999 shows its end, as Python knows no later date.
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let moment = Moment { seconds: since.as_secs().min(253_402_300_799), micros: since.subsec_micros() };
    format_moment(pattern, moment)
}

#[derive(Clone, Copy)]
struct Moment {
    seconds: u64,
    micros: u32,
}

fn format_moment(pattern: &str, moment: Moment) -> String {
    let unix_seconds = moment.seconds;
    let days = unix_seconds / 86_400;
    let second_of_day = unix_seconds % 86_400;
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
    let weekday_number = (days + 4) % 7;
    let weekday = WEEKDAYS[weekday_number as usize];
    let month_name = MONTHS[(month - 1) as usize];
    let day_of_year = days - days_before(year) + 1;
    let hour12 = (hour + 11) % 12 + 1;
    // The week's Thursday decides to which year it belongs.
    let thursday = days + 3 - (weekday_number + 6) % 7;
    let iso_year = civil(thursday).0;
    let iso_week = (thursday - days_before(iso_year)) / 7 + 1;

    let mut out = String::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut specifier = chars.next();
        let padded = specifier != Some('-');
        if !padded {
            specifier = chars.next();
        }
        let mut number = |value: u64, width: usize| {
            let width = if padded { width } else { 0 };
            number_into(&mut out, value, width);
        };
        match specifier {
            Some('d') => number(day, 2),
            Some('H') => number(hour, 2),
            Some('I') => number(hour12, 2),
            Some('j') => number(day_of_year, 3),
            Some('m') => number(month, 2),
            Some('M') => number(minute, 2),
            Some('S') => number(second, 2),
            Some('y') => number(year % 100, 2),
            Some('Y') => number(year, 4),
            Some('e') => spaced(&mut out, day),
            Some('a') => out.push_str(&weekday[..3]),
            Some('A') => out.push_str(weekday),
            Some('b') => out.push_str(&month_name[..3]),
            Some('B') => out.push_str(month_name),
            Some('p') => out.push_str(if hour < 12 { "AM" } else { "PM" }),
            Some('h') => out.push_str(&month_name[..3]),
            Some('F') => out.push_str(&format_moment("%Y-%m-%d", moment)),
            Some('T' | 'X') => out.push_str(&format_moment("%H:%M:%S", moment)),
            Some('D' | 'x') => out.push_str(&format_moment("%m/%d/%y", moment)),
            Some('R') => out.push_str(&format_moment("%H:%M", moment)),
            Some('r') => out.push_str(&format_moment("%I:%M:%S %p", moment)),
            Some('c') => out.push_str(&format_moment("%a %b %e %H:%M:%S %Y", moment)),
            Some('C') => number(year / 100, 2),
            Some('G') => number(iso_year, 4),
            Some('g') => number(iso_year % 100, 2),
            Some('V') => number(iso_week, 2),
            Some('u') => number((weekday_number + 6) % 7 + 1, 1),
            Some('w') => number(weekday_number, 1),
            Some('U') => number((day_of_year + 6 - weekday_number) / 7, 2),
            Some('W') => number((day_of_year + 6 - (weekday_number + 6) % 7) / 7, 2),
            Some('k') => spaced(&mut out, hour),
            Some('l') => spaced(&mut out, hour12),
            Some('P') => out.push_str(if hour < 12 { "am" } else { "pm" }),
            Some('s') => number(unix_seconds, 1),
            Some('f') => number(u64::from(moment.micros), 6),
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('z' | 'Z') => {}
            Some('%') => out.push('%'),
            other => {
                out.push_str(if padded { "%" } else { "%-" });
                out.extend(other);
            }
        }
    }
    out
}

/// Appends a number with zeros up to `width`.
fn number_into(out: &mut String, value: u64, width: usize) {
    write!(out, "{value:0width$}").expect("writing to a string does not fail");
}

/// Appends a number with a space up to two characters.
fn spaced(out: &mut String, value: u64) {
    out.push_str(if value < 10 { " " } else { "" });
    number_into(out, value, 0);
}

/// Days from 1970-01-01 to January 1st of `year`, which is at least 1970.
fn days_before(year: u64) -> u64 {
    let leap_days = |y: u64| y / 4 - y / 100 + y / 400;
    (year - 1970) * 365 + leap_days(year - 1) - leap_days(1969)
}

/// Year, month and day (from 1) of a day counted from 1970-01-01, in the Gregorian calendar.
///
/// Counts in eras of 400 years that start on March 1st, so that the leap day is the last of its year.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (days / 146_097 * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    fn format(pattern: &str, seconds: u64) -> String {
        super::format(pattern, SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
    }

    use super::SystemTime;

    #[test]
    fn known_dates() {
        assert_eq!(format("%Y-%m-%d %H:%M:%S %A %j", 0), "1970-01-01 00:00:00 Thursday 001");
        // 2024-02-29 13:05:09 UTC, a leap day.
        let leap = 1_709_211_909;
        assert_eq!(
            format("%d %b %Y|%B|%a|%I %p|%y|%j|%F %T", leap),
            "29 Feb 2024|February|Thu|01 PM|24|060|2024-02-29 13:05:09"
        );
        assert_eq!(format("%-m/%e/%-d", 951_782_400 + 86_400 * 3), "3/ 3/3");
        assert_eq!(format("%F", 4_102_444_800), "2100-01-01");
        assert_eq!(format("%F %j", 4_102_444_800 - 1), "2099-12-31 365");
    }

    #[test]
    fn weeks_are_those_of_python() {
        // 2021-01-03, a Sunday of the last week of 2020; 2024-12-30, a Monday of the first week of 2025.
        assert_eq!(format("%G %V %g %u %w %U %W", 1_609_632_000), "2020 53 20 7 0 01 00");
        assert_eq!(format("%G %V %U %W", 1_735_516_800), "2025 01 52 53");
        assert_eq!(
            format("%c|%x|%X|%D|%R|%r|%h|%C|%f|%z%Z|", 0),
            "Thu Jan  1 00:00:00 1970|01/01/70|00:00:00|01/01/70|00:00|12:00:00 AM|Jan|19|000000||"
        );
    }

    #[test]
    fn strange_patterns_are_kept() {
        assert_eq!(format("%Q%%%-Q %", 0), "%Q%%-Q %");
        assert_eq!(format("%F", 1 << 60), "9999-12-31");
    }
}
