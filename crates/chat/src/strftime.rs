//! `strftime_now`: the date a template may write into a system prompt.

use std::fmt::Write as _;

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
/// Known: `%a %A %b %B %d %e %H %I %j %m %M %p %S %y %Y %F %T %Z %%`, and `-` before a number drops its padding. Others
/// are left as they are.
pub(crate) fn format(pattern: &str, unix_seconds: u64) -> String {
    let days = unix_seconds / 86_400;
    let second_of_day = unix_seconds % 86_400;
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
    let weekday = WEEKDAYS[((days + 4) % 7) as usize];
    let month_name = MONTHS[(month - 1) as usize];
    let day_of_year = days - days_before(year) + 1;
    let hour12 = (hour + 11) % 12 + 1;

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
            Some('e') => {
                out.push_str(if day < 10 { " " } else { "" });
                number_into(&mut out, day, 0);
            }
            Some('a') => out.push_str(&weekday[..3]),
            Some('A') => out.push_str(weekday),
            Some('b') => out.push_str(&month_name[..3]),
            Some('B') => out.push_str(month_name),
            Some('p') => out.push_str(if hour < 12 { "AM" } else { "PM" }),
            Some('F') => out.push_str(&format("%Y-%m-%d", unix_seconds)),
            Some('T') => out.push_str(&format("%H:%M:%S", unix_seconds)),
            Some('Z') => out.push_str("UTC"),
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
    use super::*;

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
    fn strange_patterns_are_kept() {
        assert_eq!(format("%Q%%%-Q %", 0), "%Q%%-Q %");
        assert!(!format("%F", u64::MAX / 2).is_empty());
    }
}
