//! Templates against what they must write, against minijinja as a twin, and against their limits.

use serde_json::{Map, Value as Json, json};

use super::{ChatTemplate, Date, TemplateError};

fn context() -> Map<String, Json> {
    let context = json!({
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "  How much is 2 + 2? "},
            {"role": "assistant", "content": "<think>\nhm\n</think>\n\nFour.", "tool_calls": [
                {"function": {"name": "add", "arguments": {"a": 2, "b": [2.5, true, null]}}},
            ]},
            {"role": "tool", "content": "4"},
            {"role": "user", "content": "And 3 × 3?"},
        ],
        "tools": [{"type": "function", "function": {"name": "add", "description": "sum \"of\" <two>", "parameters": {}}}],
        "add_generation_prompt": true,
        "bos_token": "<s>",
        "eos_token": "</s>",
    });
    context.as_object().cloned().unwrap_or_default()
}

fn rendered(source: &str) -> Result<String, TemplateError> {
    ChatTemplate::parse("test", source)?.render(&context(), Date::default())
}

/// What minijinja makes of it, set up as `transformers` sets up Jinja.
fn by_twin(source: &str) -> Result<String, minijinja::Error> {
    let mut environment = minijinja::Environment::new();
    environment.set_syntax(minijinja::syntax::SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_template("test", source)?;
    environment.get_template("test")?.render(minijinja::value::Serde(context()))
}

#[test]
fn what_templates_do_is_done_as_by_minijinja() {
    for source in [
        "plain\n",
        "{% for m in messages %}\n  {% if m.role == 'user' %}\n{{ m.content }}\n  {% else %}\n-{{ m.role }}\n  {% endif %}\n{% endfor %}\nend\n",
        "a  {%- if true -%}  b  {%- endif -%}  c {# gone #}\n  {# gone too #}\nd {%+ if true %} e {% endif +%}\nf",
        "{{- ' x ' -}} y\n {{ 1 }}\n {{- 2 }}",
        "{% raw %}{{ not }} {% this %}{% endraw %}!",
        "{{ messages[0].content }}{{ messages[-1]['role'] }}{{ messages[::-1][0].role }}{{ messages[1:3]|length }}",
        "{{ 'abcdef'[1:4] }}{{ 'abcdef'[::-2] }}{{ 'abcdef'[-2:] }}{{ 'abc'[5:] }}{{ 'abcdef'[4:1:-1] }}{{ 'äöü'[1] }}",
        "{% set ns = namespace(n=0, last=none) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% set ns.last = m.role %}{% endfor %}{{ ns.n }}{{ ns.last }}",
        "{% for m in messages %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.length }}{% if loop.first %}F{% endif %}{% if loop.last %}L{% endif %}{{ loop.previtem.role if loop.previtem is defined }}{{ loop.cycle('a', 'b') }}|{% endfor %}",
        "{% for m in messages if m.role == 'user' %}{{ m.content|trim }}{{ loop.length }};{% else %}none{% endfor %}{% for m in [] %}x{% else %}empty{% endfor %}",
        "{% for key, value in {'a': 1, 'b': 2}.items() %}{{ key }}={{ value }};{% endfor %}",
        "{% macro greet(name, mark='!') %}Hi {{ name }}{{ mark }}{% endmacro %}{{ greet('A') }}{{ greet('B', mark='?') }}{{ greet(name='C') }}",
        "{% macro down(n) %}{{ n }}{% if n > 0 %}{{ down(n - 1) }}{% endif %}{% endmacro %}{{ down(5) }}",
        "{% set text %}captured {{ 1 + 1 }}{% endset %}{{ text|upper }}{% set a, b = 1, 2 %}{{ a }}{{ b }}",
        "{% with x = 3, y = 4 %}{{ x * y }}{% endwith %}{{ x is defined }}{% set x = 1 %}{% if true %}{% set x = 2 %}{% endif %}{{ x }}",
        "{% for i in range(6) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 4 %}{% break %}{% endif %}{{ i }}{% endfor %}{{ range(2, 9, 3)|list|length }}",
        "{{ 7 // 2 }}{{ -7 // 2 }}{{ 7 % 3 }}{{ -7 % 3 }}{{ 2 ** 10 }}{{ 7 / 2 }}{{ -2 ** 2 }}{{ 1 + 2 * 3 - 4 }}{{ (1 + 2) * 3 }}{{ 1.5 + 1 }}",
        "{{ 'a' ~ 1 ~ 'b' }}{{ 'a' + 'b' }}{{ 'ab' * 2 }}{{ ([1] + [2, 3])|length }}",
        "{{ 1 if true else 2 }}{{ 1 if false else 2 if false else 3 }}[{{ 1 if false }}]{{ none or 'x' }}{{ 'y' and 'z' }}{{ '' or 0 }}",
        "{% if 1 < 2 and not 2 < 1 or false %}a{% endif %}{% if 'b' in 'abc' and 'z' not in 'abc' %}b{% endif %}{% if 'role' in messages[0] %}c{% endif %}",
        "{% if messages[0].role is equalto 'system' and x is not defined and none is none %}a{% endif %}{% if 4 is even and 3 is odd and 9 is divisibleby 3 %}b{% endif %}",
        "{% if tools is iterable and tools is not string and tools[0] is mapping and 1 is number and '' is string %}a{% endif %}",
        "{{ messages[2].content.split('</think>')[-1].lstrip('\\n') }}{{ messages[2].content.split('</think>')|first|length }}",
        "{{ ' ab '.strip() }}{{ 'xxabxx'.strip('x') }}{{ 'Ab'.lower() }}{{ 'ab'.upper() }}{{ 'hello wORLD'.title() }}{{ 'hELLO'.capitalize() }}{{ 'aXbX'.replace('X', '-') }}",
        "{% if 'abc'.startswith('ab') and 'abc'.endswith('bc') and not 'abc'.startswith('b') %}y{% endif %}{{ 'a,b,,c'.split(',')|join('|') }}{{ ' a  b '.split()|join('|') }}",
        "{{ messages|map(attribute='role')|join(',') }}{{ messages|selectattr('role', 'equalto', 'user')|list|length }}{{ messages|rejectattr('role', 'in', ['user', 'tool'])|map(attribute='role')|join('+') }}",
        "{{ [3, 1, 2]|sort|join }}{{ [3, 1, 2]|sort(reverse=true)|join }}{{ ['b', 'A', 'c']|sort|join }}{{ [1, 2, 1]|unique|join }}{{ [1, 2, 3]|sum }}{{ [1, 5, 3]|max }}{{ [4, 2]|min }}{{ [1, 2]|last }}",
        "{{ '  x '|trim }}{{ 'abc'|length }}{{ 'abc'|upper|lower|capitalize }}{{ 'abc'|replace('b', 'B') }}{{ missing|default('d') }}{{ ''|default('e', true) }}{{ '12'|int + 1 }}{{ 3.7|int }}{{ 2.5|round }}{{ -3|abs }}",
        "{{ 'a\nb\n\nc'|indent }}|{{ 'a\nb'|indent(2, true) }}|{{ {'b': 1, 'a': 2}|dictsort|map('first')|join }}|{{ 'abc'|reverse }}|{{ [1, 2]|reverse|join }}",
        "{{ [1, 2, 3, 4, 5]|batch(2)|map('join', '-')|join('/') }}|{{ [1, 2, 3, 4, 5]|slice(3)|map('join', '-')|join('/') }}|{{ '%s has %d' | format('x', 3) }}|{{ '%05d' | format(7) }}",
        "{{ [[1, 2], [3]]|map('sum')|join(',') }}{{ ['a', '', 'b']|select|join }}{{ [1, 2, 3, 4]|reject('odd')|join }}",
        "{{ 'it''s' }}{{ \"q\\\"uote\" }}{{ 'tab\\tnew\\\\' }}{{ 'caf\\u00e9' }}",
        "{{ {'a': {'b': [10, 20]}}.a.b[1] }}{{ {'k': 1}.get('k') }}{{ {'k': 1}.get('z', 5) }}{{ {'k': 1}|length }}{{ {'x': 1, 'y': 2}.keys()|join }}{{ {'x': 1, 'y': 2}.values()|sum }}",
        "{%- if tools %}\n    {{- 'T\\n' }}\n    {%- for tool in tools %}\n        {{- tool.function.name }}\n    {%- endfor %}\n{%- endif %}\n{{- '!' }}\n",
    ] {
        let twin = by_twin(source).unwrap_or_else(|error| format!("twin: {error:#}"));
        let own = rendered(source).unwrap_or_else(|error| format!("own: {error}"));
        assert_eq!(own, twin, "{source}");
    }
}

#[test]
fn values_print_as_in_python() -> Result<(), TemplateError> {
    assert_eq!(
        rendered("{{ true }} {{ none }} {{ 1.0 }} {{ 1e20 }} {{ ['a', 'b\\'s', 2, {'k': none}] }}")?,
        "True None 1.0 1e+20 ['a', \"b's\", 2, {'k': None}]"
    );
    assert_eq!(
        rendered("{{ tools[0].function|tojson }}")?,
        r#"{"name": "add", "description": "sum \"of\" <two>", "parameters": {}}"#
    );
    assert_eq!(
        rendered("{{ {'b': [1, 2], 'a': {}}|tojson(indent=2) }}")?,
        "{\n  \"b\": [\n    1,\n    2\n  ],\n  \"a\": {}\n}"
    );
    assert_eq!(
        rendered("{{ messages[2].tool_calls[0].function.arguments|tojson }}")?,
        r#"{"a": 2, "b": [2.5, true, null]}"#
    );
    assert_eq!(rendered("{% generation %}{{ '{} is {name}'.format(1, name='x') }}{% endgeneration %}")?, "1 is x");
    Ok(())
}

#[test]
fn json_is_written_as_by_python() -> Result<(), TemplateError> {
    for (asked, expected) in [
        ("", r#"{"b": ["ä😀", {}], "a": "x\u001f"}"#),
        ("separators=(',', ':')", r#"{"b":["ä😀",{}],"a":"x\u001f"}"#),
        ("sort_keys=true", r#"{"a": "x\u001f", "b": ["ä😀", {}]}"#),
        ("ensure_ascii=true", r#"{"b": ["\u00e4\ud83d\ude00", {}], "a": "x\u001f"}"#),
        ("true, none, ['; ', '='], true", r#"{"a"="x\u001f"; "b"=["\u00e4\ud83d\ude00"; {}]}"#),
        ("indent=0", "{\n\"b\": [\n\"ä😀\",\n{}\n],\n\"a\": \"x\\u001f\"\n}"),
        ("indent='\t'", "{\n\t\"b\": [\n\t\t\"ä😀\",\n\t\t{}\n\t],\n\t\"a\": \"x\\u001f\"\n}"),
        ("false, 1, (', ', ':')", "{\n \"b\":[\n  \"ä😀\", \n  {}\n ], \n \"a\":\"x\\u001f\"\n}"),
    ] {
        let call = if asked.is_empty() { String::new() } else { format!("({asked})") };
        let source = format!("{{{{ {{'b': ['ä😀', {{}}], 'a': 'x\\u001f'}}|tojson{call} }}}}");
        assert_eq!(rendered(&source)?, expected, "{asked}");
    }
    Ok(())
}

#[test]
fn the_day_is_the_given_one() -> Result<(), String> {
    let today = Date::try_from("2025-01-05".to_owned())?;
    let source =
        "{% if strftime_now is defined %}{{ strftime_now('%d %b %Y') }} {{ strftime_now(format='%A') }}{% endif %}";
    let written = ChatTemplate::parse("test", source).and_then(|template| template.render(&context(), today));
    assert_eq!(written.map_err(|error| error.to_string())?, "05 Jan 2025 Sunday");
    Ok(())
}

#[test]
fn errors_name_the_template_and_the_line() {
    let error = |source: &str| rendered(source).err().map(|error| error.to_string()).unwrap_or_default();
    assert_eq!(error("a\n{% if %}"), "test, line 2: an expression expected, got the end of the tag");
    assert!(error("{% for m in messages %}").contains("`endfor` is missing"), "{}", error("{% for m in messages %}"));
    assert!(error("\n\n{{ messages.x.y }}").starts_with("test, line 3: an undefined value has no `y`"));
    assert!(error("{{ raise_exception('roles must alternate') }}").contains("roles must alternate"));
    for source in [
        "{{ x|frobnicate }}",
        "{% include 'a' %}",
        "{{ 'open }}",
        "{{ 1",
        "{% endif %}",
        "{{ 1 / 0 }}",
        "{{ 1 % 0 }}",
        "{{ 9223372036854775807 + 1 }}",
        "{{ [1, 'a']|sort }}",
        "{{ messages() }}",
        "{{ 'a' + 1 }}",
        "{{ [namespace()] }}",
        "{{ 99999999999999999999 }}",
        "{{ strftime_now() }}",
        "{{ strftime_now('%!') }}",
        "{{ [1]|tojson(separators=':') }}",
    ] {
        assert!(error(source).starts_with("test, line 1: "), "{source}: {}", error(source));
    }
}

/// A statement that makes `n.s` from itself, so often.
fn again(first: &str, next: &str, times: usize) -> String {
    format!(
        "{{% set n = namespace(s={first}, t=0) %}}{{% for i in range({times}) %}}{{% set n.s = {next} %}}{{% endfor %}}{{{{ n.s|length }}}}"
    )
}

#[test]
fn what_grows_without_bound_is_refused() {
    let nested =
        |open: &str, middle: &str, close: &str, times: usize| open.repeat(times) + middle + &close.repeat(times);
    let mut hostile = vec![
        again("'x' * 8", "n.s + n.s", 60),
        again("'x' * 8", "n.s ~ n.s", 60),
        again("[1, 2]", "n.s + n.s", 60),
        again("[1]", "[n.s, n.s]", 60) + "{{ n.s }}",
        again("[1]", "[n.s, n.s]", 60) + "{{ n.s == n.s }}",
        again("[1]", "{'a': n.s, 'b': n.s}", 60) + "{{ n.s|tojson }}",
        again("[1]", "[n.s]", 100_000),
        again("'aaaa'", "n.s|replace('a', n.s)", 12),
        again("'aaaa'", "n.s.replace('', n.s)", 12),
        again("'aaaa'", "n.s|list|join(n.s)", 12),
        again("'aaaa'", "n.s.join(n.s|list)", 12),
        again("'aaaa'", "'%s%s%s' % (n.s, n.s, n.s)", 60),
        again("'aaaa'", "'{0}{0}{0}'.format(n.s)", 60),
        again("'a\nb'", "n.s|indent(n.s)", 60),
        again("'a'", "[n.s, n.s]|join", 60),
        again("'a'", "n.s * 100000", 60),
        again("[1]", "n.s * 100000", 60),
        again("'\\\\'", "n.s|tojson", 60),
        again("'\\''", "[n.s]|string", 60),
        again("[1]", "n.s|batch(1)|list + n.s|batch(1)|list", 60),
        again("'ab'", "n.s|map('indent', 9, true)|join", 60),
        "{% for a in range(1000) %}".repeat(5) + "x" + &"{% endfor %}".repeat(5),
        "{% for a in range(99999) %}".repeat(8) + &"{% endfor %}".repeat(8),
        "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(1) }}".to_owned(),
        "{% macro f(n) %}{% if n > 0 %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(40) }}".to_owned(),
        "{% macro f(s) %}{{ f(s ~ s) }}{% endmacro %}{{ f('aaaaaaaa') }}".to_owned(),
        "{% for i in range(100000) %}{{ messages[1].content }}{% endfor %}".to_owned(),
        "{% for i in range(9000) %}{% set x = range(90000)|sort(reverse=true) %}{% endfor %}".to_owned(),
        "{{ range(100000)|unique|length }}".to_owned(),
        "{% for i in range(100000) %}{{ range(100000)|sum }}{% endfor %}".to_owned(),
        "{{ range(1000000000000) }}".to_owned(),
        "{{ 'a' * 1000000000000 }}{{ [1] * 1000000000000 }}".to_owned(),
        "{{ [1, 2]|batch(4611686018427387904, 'x')|list|length }}".to_owned(),
        "{{ [1, 2]|slice(4611686018427387904)|list|length }}".to_owned(),
        "{{ 'x\ny'|indent(1000000000000) }}".to_owned(),
        "{{ messages|tojson(indent=10000000000) }}".to_owned(),
        "{{ '%010000000000d'|format(1) }}".to_owned(),
        "{{ '%.99999999999f'|format(1) }}".to_owned(),
        "{{ 'x'.ljust(10000000000) }}{{ 'x'.center(10000000000) }}".to_owned(),
        format!("{{{{ {} }}}}", nested("(", "1", ")", 100_000)),
        format!("{{{{ {} }}}}", nested("[", "", "]", 100_000)),
        format!("{{{{ {} }}}}", nested("{1: ", "1", "}", 50_000)),
        format!("{{{{ {}1 }}}}", "not ".repeat(50_000)),
        format!("{{{{ {}1 }}}}", "1 if 1 else ".repeat(20_000)),
        format!("{{{{ {} }}}}", nested("a[", "0", "]", 50_000)),
        format!("{{{{ {} }}}}", nested("f(", "0", ")", 50_000)),
        nested("{% if 1 %}", "x", "{% endif %}", 10_000),
        nested("{% for a in b %}", "x", "{% endfor %}", 10_000),
        nested("{% set a %}", "x", "{% endset %}", 10_000),
        nested("{% macro a() %}", "x", "{% endmacro %}", 5_000),
        format!("{{% for {} in x %}}{{% endfor %}}", nested("(", "a", ")", 50_000)),
        "x".repeat(1 << 20),
    ];
    // Names that the source is full of cost each look-up more.
    let names: String = (0..6_000).map(|n| format!("{{% set a{n} = 1 %}}")).collect();
    hostile.push(names + "{% for i in range(100000) %}{{ a0 }}{% endfor %}");
    let run = move || {
        for source in hostile {
            let shown: String = source.chars().take(120).collect();
            match rendered(&source) {
                Err(TemplateError::Limit { template, .. }) => assert_eq!(template, "test"),
                Err(TemplateError::Render { detail, .. }) => {
                    assert!(detail.contains("at most") || detail.contains("within 0 and"), "{shown}: {detail}");
                }
                other => panic!("{shown}: {:?}", other.map(|text| text.len())),
            }
        }
    };
    // The smallest stack that anything here runs on.
    let started = std::time::Instant::now();
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(run);
    assert!(thread.is_ok_and(|thread| thread.join().is_ok()));
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}

#[test]
fn long_chains_are_no_nesting() -> Result<(), TemplateError> {
    assert_eq!(rendered(&format!("{{{{ 1{} }}}}", "+1".repeat(50_000)))?, "50001");
    assert_eq!(rendered(&format!("{{{{ 'x'{} }}}}", "|upper".repeat(20_000)))?, "X");
    assert_eq!(rendered(&format!("{{{{ {}1 }}}}", "-".repeat(100_000)))?, "1");
    assert_eq!(rendered(&format!("{{{{ ('a'{})|length }}}}", "~'a'".repeat(1_000)))?, "1001");
    Ok(())
}

#[test]
fn a_long_conversation_is_far_below_the_limits() -> Result<(), TemplateError> {
    let messages: Vec<Json> = (0..400)
        .map(|n| json!({"role": if n % 2 == 0 { "user" } else { "assistant" }, "content": "word ".repeat(4_000)}))
        .collect();
    let mut context = context();
    context.insert("messages".to_owned(), json!(messages));
    let source = "{% set ns = namespace(last=0) %}{% for m in messages[::-1] %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}\
        {% for m in messages %}{% set content = m.content.split('</think>')[-1].lstrip('\\n') %}{{ '<|im_start|>' + m.role + '\\n' + content|trim + '<|im_end|>\\n' }}{% endfor %}";
    let text = ChatTemplate::parse("test", source)?.render(&context, Date::default())?;
    assert!(text.len() > 400 * 19_000, "{}", text.len());
    Ok(())
}
