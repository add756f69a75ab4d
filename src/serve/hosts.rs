//! The names that the server answers to, against DNS rebinding.
//!
//! A web page may send requests to the loopback of whoever reads it, and by a name of its own that resolves to the loopback
//! it may also read the answers. The browser says in `Host` which name it used and in `Origin` whose page it is.

use std::net::IpAddr;

use super::response::Response;

/// Loopback names and addresses, the address that is listened on, and what was allowed besides.
pub(super) struct AllowedHosts<'a> {
    pub(super) listening: IpAddr,
    pub(super) names: &'a [String],
}

impl AllowedHosts<'_> {
    /// Checks the values of `Host` and `Origin`, in lower case, of a request of version 1.`minor`.
    pub(super) fn check(&self, minor: u8, hosts: &[String], origins: &[String]) -> Result<(), Response> {
        let host = match hosts {
            [host] if !host.is_empty() => Some(host),
            // Browsers, whom this is about, do not speak HTTP/1.0.
            [] if minor == 0 => None,
            _ => return Err(Response::error(400, "a request names one Host")),
        };
        if let Some(host) = host.filter(|host| !self.admits(host)) {
            let advice = "name it with `--allow-host` if it is";
            return Err(Response::error(403, &format!("`{host}` is no name of this server: {advice}")));
        }
        for origin in origins {
            let place = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
            if place.is_none() || place != host.map(String::as_str) {
                return Err(Response::error(403, &format!("pages of `{origin}` may not ask this server")));
            }
        }
        Ok(())
    }

    /// Whether a `Host`, with or without a port, is this server.
    fn admits(&self, host: &str) -> bool {
        let Some(name) = name(host) else { return false };
        if self.names.iter().any(|allowed| allowed.eq_ignore_ascii_case(name)) {
            return true;
        }
        match name.parse::<IpAddr>() {
            // Nobody can make an address resolve to another: where all addresses are listened on, any of them will do.
            Ok(address) => {
                address.to_canonical().is_loopback() || self.listening.is_unspecified() || address == self.listening
            }
            Err(_) => name == "localhost" || name.ends_with(".localhost"),
        }
    }
}

/// The name of `name`, `name:port`, `[address]` or `[address]:port`, without the dot that may end it.
fn name(host: &str) -> Option<&str> {
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let name = match host.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            return (port.is_empty() || port.strip_prefix(':').is_some_and(is_port)).then_some(address);
        }
        None => match host.split_once(':') {
            Some((name, port)) if is_port(port) => name,
            Some(_) => return None,
            None => host,
        },
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(listening: &str, minor: u8, hosts: &[&str], origins: &[&str]) -> u16 {
        let names = ["node7".to_owned()];
        let allowed = AllowedHosts { listening: listening.parse().unwrap(), names: &names };
        let owned = |values: &[&str]| -> Vec<String> { values.iter().map(|value| (*value).to_owned()).collect() };
        allowed.check(minor, &owned(hosts), &owned(origins)).map_or_else(|refusal| refusal.status, |()| 200)
    }

    #[test]
    fn the_loopback_the_address_and_allowed_names_are_admitted_and_nothing_else() {
        let own = ["localhost", "localhost:8000", "a.localhost.", "127.0.0.1:80", "127.9.9.9", "[::1]", "[::1]:8000"];
        for host in own.iter().chain(&["node7", "node7:8000", "localhost:"]) {
            assert_eq!(status("127.0.0.1", 1, &[host], &[]), 200, "{host}");
        }
        let foreign = [
            "evil.example",
            "evil.example:8000",
            "localhost.evil.example",
            "evil-localhost",
            "10.0.0.5",
            "[2001:db8::1]",
            "::1",
            "[::1]evil.example",
            "[::1",
            "127.1",
            "2130706433",
            "localhost@evil.example",
            "localhost:evil",
            "node7.evil.example",
            ".",
            ":80",
        ];
        for host in foreign {
            assert_eq!(status("127.0.0.1", 1, &[host], &[]), 403, "{host}");
        }
        assert_eq!(status("10.0.0.5", 1, &["10.0.0.5:8000"], &[]), 200);
        assert_eq!(status("10.0.0.5", 1, &["10.0.0.6:8000"], &[]), 403);
        assert_eq!(status("0.0.0.0", 1, &["10.0.0.6"], &[]), 200);
        assert_eq!(status("::", 1, &["evil.example"], &[]), 403);
    }

    #[test]
    fn a_request_names_one_host_and_comes_from_no_foreign_page() {
        assert_eq!((status("::1", 1, &[], &[]), status("::1", 1, &[""], &[])), (400, 400));
        assert_eq!(status("::1", 1, &["localhost", "localhost"], &[]), 400);
        assert_eq!((status("::1", 0, &[], &[]), status("::1", 0, &["evil.example"], &[])), (200, 403));
        assert_eq!(status("::1", 1, &["localhost:80"], &["http://localhost:80"]), 200);
        for origin in ["null", "", "http://evil.example", "http://localhost:81", "localhost:80", "file://localhost:80"]
        {
            assert_eq!(status("::1", 1, &["localhost:80"], &[origin]), 403, "{origin}");
        }
        assert_eq!(status("::1", 1, &["localhost"], &["http://localhost", "null"]), 403);
        assert_eq!(status("::1", 0, &[], &["http://localhost"]), 403);
    }
}
