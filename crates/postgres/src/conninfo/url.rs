//! `postgresql://user:password@host:port,host2/database?parameter=value`.

use super::ConninfoError;
use super::parameters::{Parameters, known};

pub(super) fn is_url(text: &str) -> bool {
    after_scheme(text).is_some()
}

fn after_scheme(text: &str) -> Option<&str> {
    ["postgresql://", "postgres://"].into_iter().find_map(|scheme| {
        text.get(..scheme.len())
            .filter(|head| head.eq_ignore_ascii_case(scheme))
            .map(|_| &text[scheme.len()..])
    })
}

pub(super) fn parse(text: &str) -> Result<Parameters, ConninfoError> {
    let rest = after_scheme(text).unwrap_or(text);
    let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (path, query) = rest.split_at(rest.find('?').unwrap_or(rest.len()));
    let mut parameters = Parameters::new();
    // A host never holds an "@", a password that was not encoded does: the last one ends the user's part.
    let hosts = match authority.rsplit_once('@') {
        Some((user, hosts)) => {
            let (user, password) = user.split_once(':').map_or((user, None), |(u, p)| (u, Some(p)));
            set(&mut parameters, "user", decode(user, "the user name")?);
            if let Some(password) = password {
                set(&mut parameters, "password", decode(password, "the password")?);
            }
            hosts
        }
        None => authority,
    };
    read_hosts(hosts, &mut parameters)?;
    set(&mut parameters, "dbname", decode(path.trim_start_matches('/'), "the database name")?);
    read_query(query.strip_prefix('?').unwrap_or(query), &mut parameters)?;
    Ok(parameters)
}

fn set(parameters: &mut Parameters, keyword: &'static str, value: String) {
    if !value.is_empty() {
        parameters.insert(keyword, value);
    }
}

fn read_hosts(text: &str, parameters: &mut Parameters) -> Result<(), ConninfoError> {
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    for part in text.split(',') {
        let (host, port) = match part.strip_prefix('[') {
            Some(rest) => {
                let (address, after) = rest
                    .split_once(']')
                    .ok_or_else(|| ConninfoError::new("an IPv6 address of the URL lacks its \"]\""))?;
                match (after, after.strip_prefix(':')) {
                    ("", _) => (address, ""),
                    (_, Some(port)) => (address, port),
                    _ => {
                        return Err(ConninfoError::new(
                            "the URL has text after the \"]\" of an IPv6 address",
                        ));
                    }
                }
            }
            None => part.split_once(':').unwrap_or((part, "")),
        };
        if !port.bytes().all(|b| b.is_ascii_digit()) {
            return Err(ConninfoError::new("the port of the URL is not a number").hint(ENCODE));
        }
        hosts.push(decode(host, "the host")?);
        ports.push(port.to_owned());
    }
    if hosts.iter().any(|h| !h.is_empty()) {
        parameters.insert("host", hosts.join(","));
    }
    if ports.iter().any(|p| !p.is_empty()) {
        parameters.insert("port", ports.join(","));
    }
    Ok(())
}

fn read_query(query: &str, parameters: &mut Parameters) -> Result<(), ConninfoError> {
    for pair in query.split('&').filter(|p| !p.is_empty()) {
        let (keyword, value) = pair.split_once('=').ok_or_else(|| {
            ConninfoError::new("a parameter of the URL has no \"=\"")
                .hint("write ?keyword=value&keyword2=value2")
        })?;
        let (keyword, value) =
            (decode(keyword, "a parameter's name")?, decode(value, "a parameter's value")?);
        // What JDBC's URLs say.
        if keyword == "ssl" && value == "true" {
            parameters.insert("sslmode", "require".to_owned());
        } else {
            parameters.insert(known(&keyword)?, value);
        }
    }
    Ok(())
}

const ENCODE: &str = "write special characters of the password percent-encoded: % as %25, @ as %40, / as %2F, ? as %3F, # as %23, : as %3A";

fn decode(text: &str, what: &str) -> Result<String, ConninfoError> {
    let wrong =
        || ConninfoError::new(format!("{what} in the URL is not percent-encoded correctly")).hint(ENCODE);
    let bytes = text.as_bytes();
    for (i, _) in bytes.iter().enumerate().filter(|(_, b)| **b == b'%') {
        let digits = bytes.get(i + 1..i + 3).ok_or_else(wrong)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) || digits == b"00" {
            return Err(wrong());
        }
    }
    percent_encoding::percent_decode_str(text).decode_utf8().map(|t| t.into_owned()).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &[(&str, &str)]) {
        let parameters = parse(text).unwrap();
        let got: Vec<_> = parameters.iter().map(|(k, v)| (*k, v.as_str())).collect();
        assert_eq!(got, expect, "{text}");
    }

    #[test]
    fn urls_are_read_in_all_their_forms() {
        check("postgresql://", &[]);
        check("postgres://localhost", &[("host", "localhost")]);
        check("postgresql://u@h:5433/d", &[("dbname", "d"), ("host", "h"), ("port", "5433"), ("user", "u")]);
        check(
            "postgresql://u:p%40%2Fw@h/d%20b",
            &[("dbname", "d b"), ("host", "h"), ("password", "p@/w"), ("user", "u")],
        );
        check("postgresql:///d?host=/tmp&port=6", &[("dbname", "d"), ("host", "/tmp"), ("port", "6")]);
        check("postgresql://%2Fvar%2Frun/d", &[("dbname", "d"), ("host", "/var/run")]);
        check("postgresql://a:1,b:2/d", &[("dbname", "d"), ("host", "a,b"), ("port", "1,2")]);
        check("postgresql://a,b:2", &[("host", "a,b"), ("port", ",2")]);
        check("postgresql://[::1]:5/d", &[("dbname", "d"), ("host", "::1"), ("port", "5")]);
        check("postgresql://h?ssl=true", &[("host", "h"), ("sslmode", "require")]);
        check(
            "postgresql://h?connect_timeout=5&sslmode=disable",
            &[("connect_timeout", "5"), ("host", "h"), ("sslmode", "disable")],
        );
    }

    #[test]
    fn an_at_sign_in_the_password_is_understood() {
        check(
            "postgresql://u:p@ss@h/d",
            &[("dbname", "d"), ("host", "h"), ("password", "p@ss"), ("user", "u")],
        );
    }

    #[test]
    fn broken_urls_are_errors_that_show_no_password() {
        for text in [
            "postgresql://u:hunter2%@h/d",
            "postgresql://u:hunter2%zz@h",
            "postgresql://u:hunter2%00@h",
            "postgresql://u:hunter2/x@h/d",
            "postgresql://u:hunter2?x@h/d",
            "postgresql://[::1/d",
            "postgresql://[::1]x/d",
            "postgresql://h?x",
            "postgresql://h?pgbouncer=true",
        ] {
            let error = parse(text).map(drop).unwrap_err();
            assert!(!format!("{error} {:?}", error.hints()).contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_drivers_parameter_is_explained() {
        let error = parse("postgresql://h/d?pgbouncer=true").map(drop).unwrap_err();
        assert_eq!(error.hints(), ["\"pgbouncer\" belongs to an application's driver: leave it out here"]);
    }
}
