//! Markup that is easily taken for something else: character references, bars, tags and their attributes, readings, what is never
//! closed.

use memtrain_corpora::wikitext::{CleanOptions, Keep, WikiContext, clean};

#[track_caller]
fn shows(wikitext: &str, text: &str) {
    assert_eq!(clean(wikitext, &WikiContext::default()).text, text, "from `{wikitext}`");
}

/// The names of HTML 4 with their characters; those of the angle brackets are the ones of HTML 5.
const HTML_4: &str = "\
    AElig=c6 Aacute=c1 Acirc=c2 Agrave=c0 Alpha=391 Aring=c5 Atilde=c3 Auml=c4 Beta=392 Ccedil=c7 Chi=3a7 \
    Dagger=2021 Delta=394 ETH=d0 Eacute=c9 Ecirc=ca Egrave=c8 Epsilon=395 Eta=397 Euml=cb Gamma=393 Iacute=cd \
    Icirc=ce Igrave=cc Iota=399 Iuml=cf Kappa=39a Lambda=39b Mu=39c Ntilde=d1 Nu=39d OElig=152 Oacute=d3 \
    Ocirc=d4 Ograve=d2 Omega=3a9 Omicron=39f Oslash=d8 Otilde=d5 Ouml=d6 Phi=3a6 Pi=3a0 Prime=2033 Psi=3a8 \
    Rho=3a1 Scaron=160 Sigma=3a3 THORN=de Tau=3a4 Theta=398 Uacute=da Ucirc=db Ugrave=d9 Upsilon=3a5 Uuml=dc \
    Xi=39e Yacute=dd Yuml=178 Zeta=396 aacute=e1 acirc=e2 acute=b4 aelig=e6 agrave=e0 alefsym=2135 alpha=3b1 \
    amp=26 and=2227 ang=2220 aring=e5 asymp=2248 atilde=e3 auml=e4 bdquo=201e beta=3b2 brvbar=a6 bull=2022 \
    cap=2229 ccedil=e7 cedil=b8 cent=a2 chi=3c7 circ=2c6 clubs=2663 cong=2245 copy=a9 crarr=21b5 cup=222a \
    curren=a4 dArr=21d3 dagger=2020 darr=2193 deg=b0 delta=3b4 diams=2666 divide=f7 eacute=e9 ecirc=ea egrave=e8 \
    empty=2205 emsp=2003 ensp=2002 epsilon=3b5 equiv=2261 eta=3b7 eth=f0 euml=eb euro=20ac exist=2203 fnof=192 \
    forall=2200 frac12=bd frac14=bc frac34=be frasl=2044 gamma=3b3 ge=2265 gt=3e hArr=21d4 harr=2194 hearts=2665 \
    hellip=2026 iacute=ed icirc=ee iexcl=a1 igrave=ec image=2111 infin=221e int=222b iota=3b9 iquest=bf \
    isin=2208 iuml=ef kappa=3ba lArr=21d0 lambda=3bb lang=27e8 laquo=ab larr=2190 lceil=2308 ldquo=201c le=2264 \
    lfloor=230a lowast=2217 loz=25ca lrm=200e lsaquo=2039 lsquo=2018 lt=3c macr=af mdash=2014 micro=b5 middot=b7 \
    minus=2212 mu=3bc nabla=2207 nbsp=a0 ndash=2013 ne=2260 ni=220b not=ac notin=2209 nsub=2284 ntilde=f1 nu=3bd \
    oacute=f3 ocirc=f4 oelig=153 ograve=f2 oline=203e omega=3c9 omicron=3bf oplus=2295 or=2228 ordf=aa ordm=ba \
    oslash=f8 otilde=f5 otimes=2297 ouml=f6 para=b6 part=2202 permil=2030 perp=22a5 phi=3c6 pi=3c0 piv=3d6 \
    plusmn=b1 pound=a3 prime=2032 prod=220f prop=221d psi=3c8 quot=22 rArr=21d2 radic=221a rang=27e9 raquo=bb \
    rarr=2192 rceil=2309 rdquo=201d real=211c reg=ae rfloor=230b rho=3c1 rlm=200f rsaquo=203a rsquo=2019 \
    sbquo=201a scaron=161 sdot=22c5 sect=a7 shy=ad sigma=3c3 sigmaf=3c2 sim=223c spades=2660 sub=2282 sube=2286 \
    sum=2211 sup=2283 sup1=b9 sup2=b2 sup3=b3 supe=2287 szlig=df tau=3c4 there4=2234 theta=3b8 thetasym=3d1 \
    thinsp=2009 thorn=fe tilde=2dc times=d7 trade=2122 uArr=21d1 uacute=fa uarr=2191 ucirc=fb ugrave=f9 uml=a8 \
    upsih=3d2 upsilon=3c5 uuml=fc weierp=2118 xi=3be yacute=fd yen=a5 yuml=ff zeta=3b6 zwj=200d zwnj=200c";

#[test]
fn named_references_are_those_of_the_standard() {
    let entries: Vec<(&str, &str)> = HTML_4.split(' ').filter_map(|entry| entry.split_once('=')).collect();
    assert_eq!(entries.len(), 252);
    for (name, code) in entries {
        let character = char::from_u32(u32::from_str_radix(code, 16).unwrap()).unwrap();
        let text = clean(&format!("x&{name};x"), &WikiContext::default()).text;
        let expected = match character {
            '\u{A0}' | '\u{2002}' | '\u{2003}' | '\u{2009}' => "x x".to_owned(),
            '\u{AD}' | '\u{200E}' | '\u{200F}' => "xx".to_owned(),
            shown => format!("x{shown}x"),
        };
        assert_eq!(text, expected, "&{name};");
    }
    shows("&epsi;, &straightepsilon;, &Afr; and &nvlt;", "ε, ϵ, 𝔄 and <⃒");
    shows("caf&eacute &copy 1 &amp &rlm;&רלמ;&lrm;&ZeroWidthSpace;x", "caf&eacute &copy 1 &amp x");
    shows("1914&#150;18 &#x93;x&#x94; &#129; [[Caf&eacute;|&Scaron;]]", "1914–18 “x” &#129; Š");
    shows("<nowiki>&Gamma;&lt;b></nowiki> <math>x</math> [http://a.b &Gamma;]", "Γ<b> x Γ");
}

#[test]
fn bars_from_templates_are_markup() {
    shows("In [[Ost (town){{!}}the town]] and [[Velm{{!}}{{nowrap|the village}}]].", "In the town and the village.");
    shows("a\n{{{!}} class=\"x\"\n{{!}}-\n{{!}} b {{!!}} c\n{{!}}}\nd", "a\n\nd");
    shows("a\n{{(!}} class=\"x\"\n{{!-}}\n! b\n{{!}} c\n{{!)}}\nd", "a\n\nd");
    shows("{{nowrap|[[Ost (town){{!}}the town]]}} or {{#if:x|[[Velm{{!}}it]]|}}.", "the town or it.");
    shows("{{nowrap|a{{!}}b}} {{abbr|x{{!}}y|z}}", "a|b x|y");
    shows("[[File:A.jpg{{!}}thumb{{!}}words]]c", "c");
    let keep = WikiContext::default().with_options(CleanOptions { tables: Keep::Keep, ..CleanOptions::default() });
    assert_eq!(clean("{{{!}}\n{{!}} b {{!}}{{!}} c\n{{!}}}", &keep).text, "b | c");
    assert_eq!(clean("{{center|\n{{{!}}\n{{!}} b {{!}}{{!}} c\n{{!}}}\n}}", &keep).text, "b | c");
}

#[test]
fn a_tag_ends_outside_of_quotation_marks() {
    shows("a<ref name=\"x>y\" /> b<ref>r</ref> c<ref name='p>q' group=\"n\">r</ref> d", "a b c d");
    shows("a<ref name = \"x <i>y</i> z\">r</ref> b<ref name=a/b>r</ref> c<ref name=\"a/b\"/> d", "a b c d");
    shows("a <span title=\"1 > 0\" class='x>y'>b</span> <b id=x>c</b>", "a b c");
    shows("a<references group=\"x>y\" /> b<gallery caption=\"x>y\">\nA.jpg\n</gallery> c", "a b c");
    // A forgotten quotation mark costs no more than it did.
    shows("a<ref name=\"x>r</ref> b<ref name=\"y\">r</ref> c", "a b c");
    shows("a<ref name=O'Neil>r</ref> b<ref name='O'Neil'>r</ref> c", "a b c");
    shows("a<ref name=\"x>y \"quoted\" z</ref> b", "a b");
}

#[test]
fn what_is_never_closed_takes_no_sentence_with_it() {
    shows("a.<ref name=x> It fell.<ref>r</ref> It rose.<ref name=x/>", "a. It fell. It rose.");
    shows("a.<ref name=x> It fell.<ref name=y/> It rose.<ref>r</ref>", "a. It fell. It rose.");
    shows("a.<ref name=x> It fell.\n\nIt rose.", "a. It fell.\n\nIt rose.");
    shows("a<ref group=n>r<ref>inner</ref> s</ref> b<ref>r</ref> c", "a b c");
    shows("a.<ref>r</ref It fell.<ref>s</ref > It rose.", "a. It fell. It rose.");
    shows("a {{nowrap|b\n\nc\n\n== D ==\ne {{small|f}} }} g", "a b\n\nc\n\ne f g");
    shows(
        "{{Infobox x\n| a = b\n| c = {{small|d}\n\nThe {{small|mill}} stands.\n\nIt is old.",
        "The mill stands.\n\nIt is old.",
    );
    shows("a [[File:x.jpg|thumb|b\n\nc\n\n== D ==\ne ]] f", "a\n\nc\n\ne f");
}

#[test]
fn readings_stand_in_brackets() {
    shows("<ruby>漢<rp>(</rp><rt>かん</rt><rp>)</rp></ruby>は", "漢（かん）は");
    shows("<ruby>東<rt>とう</rt>京<rt>きょう</rt></ruby>は", "東（とう）京（きょう）は");
    shows(
        "<ruby><rb>base</rb><rt>reading</rt></ruby> is <ruby>一<rt></rt></ruby>. <ruby>二<rt> </rt></ruby>",
        "base (reading) is 一. 二",
    );
    shows(
        "<ruby>漢<rt>かん<rt>字</ruby>, {{ruby|漢字|かんじ}} and {{ruby|word|}}",
        "漢（かん）（字）, 漢字（かんじ） and word",
    );
    shows("<ruby>한자<rt>漢字</rt></ruby>", "한자(漢字)");
}

#[test]
fn tags_of_extensions_are_data() {
    shows(
        "<pages index=\"A>B.djvu\" from=3 to=9 />a <pages index=x></pages>b<pagequality level=\"3\" user=\"x\" />",
        "a b",
    );
    shows("<section begin=a />a<section end=a /> <Section Begin=\"b\"/>b", "a b");
    shows("a\n<DynamicPageList>\ncategory = x\n</DynamicPageList>\nb", "a\n\nb");
    shows(
        "a <quiz display=simple>\n{ x | type=\"()\" }\n+ y\n</quiz> b <poll>\nc\n</poll> <charinsert>é</charinsert>",
        "a b",
    );
    shows("a <display_map service=x>1,2</display_map> <rss max=5>http://a.b</rss>b", "a b");
    shows("<phonos ipa=\"x\">word</phonos> is", "word is");
}
