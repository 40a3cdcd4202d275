//! What the operator tells people: plain text, and addresses that run nothing.
use super::{addresses::table, *};
use expect_test::expect;

#[test]
fn links_of_the_page() {
    let rows = [
        "Help=https://help.example.com",
        "Help = https://help.example.com/a?b=c#d , 帮助=mailto:ops@example.com,Plain=http://wiki/",
        "Help=https://a.example,Help=https://a.example",
        "",
        "https://help.example.com",
        "=https://help.example.com",
        "Help=",
        "Help=javascript:alert(1)",
        "Help= JaVaScRiPt:alert(1)",
        "Help=data:text/html;x",
        "Help=//help.example.com",
        "Help=/help",
        "Help=https:help.example.com",
        "Help=https://user:CANARY@help.example.com",
        "Help=https://help.example.com/a b",
        "Help=https:\\\\help.example.com",
        "Help=mailto:",
        "a=http://a,b=http://a,c=http://a,d=http://a,e=http://a,f=http://a,g=http://a,h=http://a,i=http://a",
    ];
    expect![[r#"
        Help=https://help.example.com -> Help=https://help.example.com/
        Help = https://help.example.com/a?b=c#d , 帮助=mailto:ops@example.com,Plain=http://wiki/ -> Help=https://help.example.com/a?b=c#d, 帮助=mailto:ops@example.com, Plain=http://wiki/
        Help=https://a.example,Help=https://a.example -> Help=https://a.example/
         -> 
        https://help.example.com -> REFUSED entry 1: has no `=` between label and address
        =https://help.example.com -> REFUSED entry 1: has no label
        Help= -> REFUSED entry 1: the address is none
        Help=javascript:alert(1) -> REFUSED entry 1: the address is neither http, https nor mailto
        Help= JaVaScRiPt:alert(1) -> REFUSED entry 1: the address is neither http, https nor mailto
        Help=data:text/html;x -> REFUSED entry 1: the address is neither http, https nor mailto
        Help=//help.example.com -> REFUSED entry 1: the address is none
        Help=/help -> REFUSED entry 1: the address is none
        Help=https:help.example.com -> REFUSED entry 1: the address has no `//` after the scheme
        Help=https://user:CANARY@help.example.com -> REFUSED entry 1: the address has a user name or a password
        Help=https://help.example.com/a b -> REFUSED entry 1: the address has a blank, a control character or a backslash
        Help=https:\\help.example.com -> REFUSED entry 1: the address has a blank, a control character or a backslash
        Help=mailto: -> REFUSED entry 1: the address has no recipient
        a=http://a,b=http://a,c=http://a,d=http://a,e=http://a,f=http://a,g=http://a,h=http://a,i=http://a -> REFUSED more than 8
    "#]].assert_eq(&table("page.links", &rows, &[]));
    for (value, problem) in [
        ("He\nlp=https://a.example".to_owned(), "has a line break or another character that is not seen"),
        (format!("{}=https://a.example", "x".repeat(61)), "too long"),
        (format!("Help=https://a.example/{}", "x".repeat(1024)), "the address is too long"),
    ] {
        let shown = table("page.links", &[&value], &[]);
        assert!(shown.trim_end().ends_with(problem), "{shown}");
    }
}

#[test]
fn title_and_notice_of_the_page_are_one_line_of_text() {
    let file = r#"
        [page]
        title = " Harbour chat "
        notice = "Down on Friday.\nReally."
        links = ["Help=https://a.example/", "Terms=https://b.example/"]
    "#;
    check(
        &toml(file),
        &Flags::default(),
        &expect![[r#"
        the configuration has 1 fault:
          page.notice = "Down on Friday.\nReally." (tidegate.toml:4): has a line break or another character that is not seen; allowed: one line of text of at most 1024 bytes
    "#]],
    );
    let long = format!("page.title={}", "x".repeat(121));
    check(
        &Map::default(),
        &set(&["page.notice=Harbour \u{202e}chat", &long]),
        &expect![[r#"
        the configuration has 2 faults:
          page.notice = "Harbour \u{202e}chat" (--set): has a line break or another character that is not seen; allowed: one line of text of at most 1024 bytes
          page.title = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"… (--set): too long; allowed: one line of text of at most 120 bytes
    "#]],
    );
    let good =
        ["page.title= Harbour chat ", "page.notice=请勿输入个人信息", "page.links=Help=https://a.example/"];
    check(
        &Map::default(),
        &set(&good),
        &expect![[r#"
        page.title = Harbour chat  # --set
        page.notice = 请勿输入个人信息  # --set
        page.links = Help=https://a.example/  # --set
    "#]],
    );
}
