//! Access control lists as they are typed: `scheme:id:perms[,…]` (`AclParser.java`).

use jute::proto::{Acl, Id, perms};

use super::Shell;

/// The entries that have the form; what is wrong with the others goes to stderr, and so does a
/// permission that there is not.
pub(super) fn parse(shell: &mut Shell, text: &str) -> Vec<Acl<'static>> {
    let (entries, complaints) = entries(text);
    for complaint in complaints {
        shell.output.failure(&complaint);
    }
    entries
}

fn entries(text: &str) -> (Vec<Acl<'static>>, Vec<String>) {
    let mut complaints = Vec::new();
    let mut entries = Vec::new();
    for entry in java_split(text) {
        let parts = entry
            .split_once(':')
            .and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once(':')?)));
        let Some((scheme, (id, letters))) = parts else {
            complaints.push(format!("{entry} does not have the form scheme:id:perm"));
            continue;
        };
        let mut granted = 0;
        for letter in letters.chars() {
            granted |= match letter {
                'r' => perms::READ,
                'w' => perms::WRITE,
                'c' => perms::CREATE,
                'd' => perms::DELETE,
                'a' => perms::ADMIN,
                other => {
                    complaints.push(format!("Unknown perm type: {other}"));
                    0
                }
            };
        }
        entries.push(Acl {
            perms: granted,
            id: Id {
                scheme: Some(scheme.to_owned().into()),
                id: Some(id.to_owned().into()),
            },
        });
    }
    (entries, complaints)
}

/// Between commas, without the empty parts at the end.
fn java_split(text: &str) -> Vec<&str> {
    let mut parts: Vec<&str> = text.split(',').collect();
    while parts.len() > 1 && parts.last().is_some_and(|part| part.is_empty()) {
        parts.pop();
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_last_colon_part_an_entry() {
        let (found, complaints) = entries("digest:u:h=:rz,world:anyone,:x,ip:1.2.3.4:cdrwa,");
        let found: Vec<String> = found
            .iter()
            .map(|acl| {
                let id = acl.id.id.as_deref().unwrap_or_default();
                let scheme = acl.id.scheme.as_deref().unwrap_or_default();
                format!("{scheme} {id} {}", acl.perms)
            })
            .collect();
        assert_eq!(found, ["digest u:h= 1", "ip 1.2.3.4 31"]);
        assert_eq!(
            complaints,
            [
                "Unknown perm type: z",
                "world:anyone does not have the form scheme:id:perm",
                ":x does not have the form scheme:id:perm",
            ]
        );
    }
}
