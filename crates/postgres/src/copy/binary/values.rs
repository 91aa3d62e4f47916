//! Values of single types, from the text that the server writes to what its receive functions read.

use std::str::FromStr;

use super::{BinaryColumn, NotBinary};

type Done = Result<(), NotBinary>;

/// 2000-01-01 in days since 1970-01-01.
const EPOCH_DAYS: i64 = 10_957;
const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

const NUMERIC_NEGATIVE: u16 = 0x4000;
const NUMERIC_NAN: u16 = 0xC000;

/// Appends length and value of one field that is not null; its escapes are undone.
pub(super) fn append(column: BinaryColumn, text: &[u8], out: &mut Vec<u8>) -> Done {
    match column {
        BinaryColumn::Text => {
            length(out, text.len())?;
            out.extend_from_slice(text);
        }
        BinaryColumn::Jsonb => {
            length(out, text.len() + 1)?;
            out.push(1);
            out.extend_from_slice(text);
        }
        BinaryColumn::Int8 => fixed(out, &integer(text)?.to_be_bytes()),
        BinaryColumn::Int4 => fixed(out, &narrow::<i32>(text)?.to_be_bytes()),
        BinaryColumn::Int2 => fixed(out, &narrow::<i16>(text)?.to_be_bytes()),
        BinaryColumn::Bool => match text {
            b"t" => fixed(out, &[1]),
            b"f" => fixed(out, &[0]),
            _ => return Err(NotBinary),
        },
        BinaryColumn::Float4 => {
            let value: f32 = float(text)?;
            in_range(text, value.is_finite(), value == 0.0)?;
            fixed(out, &value.to_be_bytes());
        }
        BinaryColumn::Float8 => {
            let value: f64 = float(text)?;
            in_range(text, value.is_finite(), value == 0.0)?;
            fixed(out, &value.to_be_bytes());
        }
        BinaryColumn::Numeric => numeric(text, out)?,
        BinaryColumn::Uuid => uuid(text, out)?,
        BinaryColumn::Bytea => {
            let digits = text.strip_prefix(b"\\x").filter(|d| d.len() % 2 == 0).ok_or(NotBinary)?;
            length(out, digits.len() / 2)?;
            hexadecimal(digits, out)?;
        }
        BinaryColumn::Date => {
            let days = match text {
                b"infinity" => i32::MAX,
                b"-infinity" => i32::MIN,
                _ => {
                    let (days, rest) = date(text)?;
                    end(rest)?;
                    i32::try_from(days).map_err(|_| NotBinary)?
                }
            };
            fixed(out, &days.to_be_bytes());
        }
        BinaryColumn::Timestamp => fixed(out, &timestamp(text, false)?.to_be_bytes()),
        BinaryColumn::Timestamptz => fixed(out, &timestamp(text, true)?.to_be_bytes()),
    }
    Ok(())
}

fn length(out: &mut Vec<u8>, bytes: usize) -> Done {
    out.extend_from_slice(&i32::try_from(bytes).map_err(|_| NotBinary)?.to_be_bytes());
    Ok(())
}

fn fixed(out: &mut Vec<u8>, value: &[u8]) {
    out.extend_from_slice(&(value.len() as i32).to_be_bytes());
    out.extend_from_slice(value);
}

fn integer(text: &[u8]) -> Result<i64, NotBinary> {
    let (negative, digits) = match text.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    if digits.is_empty() {
        return Err(NotBinary);
    }
    let mut value = 0_i64;
    for &byte in digits {
        let digit = i64::from(digit(byte)?);
        // Downwards, since the smallest number has no positive counterpart.
        value = value.checked_mul(10).and_then(|v| v.checked_sub(digit)).ok_or(NotBinary)?;
    }
    if negative { Ok(value) } else { value.checked_neg().ok_or(NotBinary) }
}

fn narrow<T: TryFrom<i64>>(text: &[u8]) -> Result<T, NotBinary> {
    T::try_from(integer(text)?).map_err(|_| NotBinary)
}

fn digit(byte: u8) -> Result<u8, NotBinary> {
    let digit = byte.wrapping_sub(b'0');
    if digit < 10 { Ok(digit) } else { Err(NotBinary) }
}

/// A floating-point number as the server writes it.
fn float<T: FromStr>(text: &[u8]) -> Result<T, NotBinary> {
    let text =
        if is_named(text) { std::str::from_utf8(text).map_err(|_| NotBinary)? } else { decimal(text)? };
    text.parse().map_err(|_| NotBinary)
}

/// The values without digits; Rust's names for them are the server's.
fn is_named(text: &[u8]) -> bool {
    matches!(text, b"NaN" | b"Infinity" | b"-Infinity")
}

/// The digits of a number: no names, no spaces.
fn decimal(text: &[u8]) -> Result<&str, NotBinary> {
    let plain = text.iter().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'+' | b'-'));
    if !plain || text.first() == Some(&b'+') {
        return Err(NotBinary);
    }
    std::str::from_utf8(text).map_err(|_| NotBinary)
}

/// A number that its type cannot hold is the server's to refuse.
fn in_range(text: &[u8], finite: bool, zero: bool) -> Done {
    let digits = text.split(|byte| *byte == b'e').next().unwrap_or_default();
    let lost = zero && digits.iter().any(|byte| matches!(byte, b'1'..=b'9'));
    if (finite || is_named(text)) && !lost { Ok(()) } else { Err(NotBinary) }
}

fn uuid(text: &[u8], out: &mut Vec<u8>) -> Done {
    if text.len() != 36 || [8, 13, 18, 23].iter().any(|&at| text[at] != b'-') {
        return Err(NotBinary);
    }
    length(out, 16)?;
    for part in [&text[..8], &text[9..13], &text[14..18], &text[19..23], &text[24..]] {
        hexadecimal(part, out)?;
    }
    Ok(())
}

fn hexadecimal(digits: &[u8], out: &mut Vec<u8>) -> Done {
    for pair in digits.chunks_exact(2) {
        let (high, low) = (NIBBLES[pair[0] as usize], NIBBLES[pair[1] as usize]);
        if (high | low) > 15 {
            return Err(NotBinary);
        }
        out.push(high << 4 | low);
    }
    Ok(())
}

/// The value of a lower-case hexadecimal digit; 255 for anything else.
const NIBBLES: [u8; 256] = {
    let mut table = [255; 256];
    let mut value = 0;
    while value < 16 {
        table[b"0123456789abcdef"[value] as usize] = value as u8;
        value += 1;
    }
    table
};

/// Groups of four decimal digits around the point, without leading and trailing groups of zero (`numeric_recv`).
fn numeric(text: &[u8], out: &mut Vec<u8>) -> Done {
    let special = |out: &mut Vec<u8>, sign: u16| {
        fixed(out, &[0, 0, 0, 0, (sign >> 8) as u8, sign as u8, 0, 0]);
        Ok(())
    };
    let (sign, digits) = match text.strip_prefix(b"-") {
        Some(digits) => (NUMERIC_NEGATIVE, digits),
        None if text == b"NaN" => return special(out, NUMERIC_NAN),
        None => (0, text),
    };
    let point = memchr::memchr(b'.', digits);
    let (whole, fraction) = match point {
        Some(at) if at + 1 < digits.len() => (&digits[..at], &digits[at + 1..]),
        Some(_) => return Err(NotBinary),
        None => (digits, &digits[..0]),
    };
    if whole.is_empty() || !whole.iter().chain(fraction).all(u8::is_ascii_digit) {
        return Err(NotBinary);
    }
    let start = out.len();
    // Length, number of groups, weight: known at the end.
    out.extend_from_slice(&[0; 8]);
    let scale = u16::try_from(fraction.len()).map_err(|_| NotBinary)?;
    out.extend_from_slice(&sign.to_be_bytes());
    out.extend_from_slice(&scale.to_be_bytes());
    let first = out.len();
    let mut weight = i64::try_from(whole.len().div_ceil(4)).map_err(|_| NotBinary)? - 1;
    let head = whole.len() % 4;
    let mut group = |digits: &[u8], width: usize| {
        let value = digits.iter().fold(0_u16, |value, digit| value * 10 + u16::from(digit - b'0'));
        let value = value * [1, 10, 100, 1000][(width - digits.len()).min(3)];
        // Leading zeros only lower the weight.
        if value != 0 || out.len() > first {
            out.extend_from_slice(&value.to_be_bytes());
        } else {
            weight -= 1;
        }
    };
    if head > 0 {
        group(&whole[..head], head);
    }
    whole[head..].chunks(4).for_each(|digits| group(digits, 4));
    fraction.chunks(4).for_each(|digits| group(digits, 4));
    while out.len() > first && out[out.len() - 2..] == [0, 0] {
        out.truncate(out.len() - 2);
    }
    let groups = (out.len() - first) / 2;
    if groups == 0 {
        weight = 0;
        // There is no negative zero.
        out[start + 8..start + 10].fill(0);
    }
    let bytes = i32::try_from(out.len() - start - 4).map_err(|_| NotBinary)?;
    out[start..start + 4].copy_from_slice(&bytes.to_be_bytes());
    out[start + 4..start + 6].copy_from_slice(&u16::try_from(groups).map_err(|_| NotBinary)?.to_be_bytes());
    out[start + 6..start + 8].copy_from_slice(&i16::try_from(weight).map_err(|_| NotBinary)?.to_be_bytes());
    Ok(())
}

/// Microseconds since 2000-01-01, of `YYYY-MM-DD HH:MM:SS[.ffffff][+HH[:MM[:SS]]]`. Years before the common era go as text.
fn timestamp(text: &[u8], zoned: bool) -> Result<i64, NotBinary> {
    match text {
        b"infinity" => return Ok(i64::MAX),
        b"-infinity" => return Ok(i64::MIN),
        _ => {}
    }
    let (days, rest) = date(text)?;
    let rest = rest.strip_prefix(b" ").ok_or(NotBinary)?;
    let (hours, rest) = two(rest, 23)?;
    let (minutes, rest) = two(rest.strip_prefix(b":").ok_or(NotBinary)?, 59)?;
    let (seconds, mut rest) = two(rest.strip_prefix(b":").ok_or(NotBinary)?, 59)?;
    let mut micros = 0;
    if let Some(digits) = rest.strip_prefix(b".") {
        let count = digits.iter().take_while(|b| b.is_ascii_digit()).count();
        if !(1..=6).contains(&count) {
            return Err(NotBinary);
        }
        let value = digits[..count].iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0'));
        micros = value * [100_000, 10_000, 1_000, 100, 10, 1][count - 1];
        rest = &digits[count..];
    }
    let mut seconds = hours * 3_600 + minutes * 60 + seconds;
    if zoned {
        let (offset, after) = offset(rest)?;
        seconds -= offset;
        rest = after;
    }
    end(rest)?;
    let day = days.checked_mul(MICROS_PER_DAY).ok_or(NotBinary)?;
    day.checked_add(seconds * MICROS_PER_SECOND + micros).ok_or(NotBinary)
}

/// Seconds east of Greenwich.
fn offset(text: &[u8]) -> Result<(i64, &[u8]), NotBinary> {
    let (&sign, rest) = text.split_first().ok_or(NotBinary)?;
    let (hours, mut rest) = two(rest, 15)?;
    let mut seconds = hours * 3_600;
    for unit in [60, 1] {
        let Some(more) = rest.strip_prefix(b":") else { break };
        let (value, after) = two(more, 59)?;
        seconds += value * unit;
        rest = after;
    }
    match sign {
        b'+' => Ok((seconds, rest)),
        b'-' => Ok((-seconds, rest)),
        _ => Err(NotBinary),
    }
}

/// Days since 2000-01-01 of `YYYY-MM-DD`, and what follows.
fn date(text: &[u8]) -> Result<(i64, &[u8]), NotBinary> {
    let width = text.iter().take_while(|b| b.is_ascii_digit()).count();
    if !(4..=6).contains(&width) {
        return Err(NotBinary);
    }
    let year = text[..width].iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0'));
    let (month, rest) = two(text[width..].strip_prefix(b"-").ok_or(NotBinary)?, 12)?;
    let (day, rest) = two(rest.strip_prefix(b"-").ok_or(NotBinary)?, 31)?;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let longest = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        _ => 31,
    };
    if year == 0 || month == 0 || day == 0 || day > longest {
        return Err(NotBinary);
    }
    // Years that begin in March, so that the leap day is the last one.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * month + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Ok((days - EPOCH_DAYS, rest))
}

fn two(text: &[u8], most: i64) -> Result<(i64, &[u8]), NotBinary> {
    let [tens, ones, rest @ ..] = text else { return Err(NotBinary) };
    let value = i64::from(digit(*tens)? * 10 + digit(*ones)?);
    if value <= most { Ok((value, rest)) } else { Err(NotBinary) }
}

fn end(rest: &[u8]) -> Done {
    if rest.is_empty() { Ok(()) } else { Err(NotBinary) }
}
