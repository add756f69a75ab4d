//! Sections without prose of their own: references, links, reading lists.

use std::collections::HashSet;
use std::sync::LazyLock;

/// Their titles in the languages of the larger Wikipedias, in small letters.
const TITLES: &[&str] = &[
    // English
    "bibliography|citations|endnotes|external link|external links|external references|footnotes|further reading|gallery|general references|literature cited|notes|notes and references|reading list|reference|references|references and notes|references and sources|see also|selected bibliography|sources|sources and references|web links|works cited",
    // German
    "weblinks|weblink|einzelnachweise|einzelnachweis|siehe auch|quellen|anmerkungen|fußnoten|nachweise|belege|quellen und literatur|literatur und quellen|einzelnachweise und anmerkungen|anmerkungen und einzelnachweise|literatur und weblinks|galerie|bildergalerie|bibliographie|bibliografie",
    // French
    "notes et références|références|référence|liens externes|lien externe|voir aussi|articles connexes|article connexe|bibliographie|annexes|sources|liens internes|notes et sources|pour approfondir|sources et bibliographie|notes, sources et références|bibliographie et sources|galerie d'images",
    // Spanish, Catalan, Galician, Portuguese, Italian, Romanian
    "referencias|enlaces externos|enlace externo|véase también|bibliografía|notas|notas y referencias|referencias y notas|fuentes|bibliografía adicional|galería|lectura adicional|lecturas adicionales|galería de imágenes",
    "referències|enllaços externs|vegeu també|bibliografia|notes i referències|véxase tamén|ligazóns externas|outros artigos",
    "referências|referência|ligações externas|links externos|ver também|notas e referências|leitura adicional|galeria|fontes|bibliografia adicional|leitura complementar|ligação externa",
    "note|voci correlate|altri progetti|collegamenti esterni|riferimenti|fonti|galleria d'immagini|note e riferimenti|annotazioni|note bibliografiche|esplicative",
    "referințe|note și referințe|legături externe|vezi și|lectură suplimentară|surse|galerie de imagini|note bibliografice",
    // Dutch, Swedish, Danish, Norwegian, Finnish, Estonian
    "externe links|externe link|zie ook|bronnen|bron|referenties|bronvermelding|noten|voetnoten|bronnen, noten en/of referenties|bronnen, noten en referenties|literatuur en bronnen",
    "referenser|externa länkar|se även|källor|noter|vidare läsning|fotnoter|externa källor|tryckta källor|webbkällor|noter och referenser|källhänvisningar|galleri|bildgalleri",
    "referencer|eksterne henvisninger|se også|kilder|eksterne links|kilder og henvisninger|kilder/referencer|kilde|fodnoter|eksterne kilder/henvisninger",
    "referanser|eksterne lenker|fotnoter|eksterne lenkjer|kjelder|sjå òg|sjå også|bakgrunnsstoff",
    "lähteet|aiheesta muualla|katso myös|viitteet|kirjallisuutta|lähdeviitteet|huomautukset|viited|välislingid|vaata ka",
    // Russian, Ukrainian, Belarusian, Bulgarian, Serbian, Macedonian, Kazakh
    "примечания|ссылки|см. также|источники|библиография|сноски|внешние ссылки|галерея|примечания и ссылки|литература и источники|источники и литература|ссылки и примечания",
    "примітки|посилання|див. також|джерела|виноски|бібліографія|джерела та література|література та джерела|зноскі|крыніцы|спасылкі|гл. таксама",
    "източници|външни препратки|бележки|вижте също|бележки и източници|препратки|използвана литература|галерия|допълнителна литература|източници и бележки|виж също|външна препратка",
    "референце|спољашње везе|види још|извори|напомене|галерија|reference|spoljašnje veze|vidi još|vidi i|napomene|наводи|надворешни врски|белешки|поврзано|дереккөздер|сыртқы сілтемелер|тағы қараңыз",
    // Croatian, Slovenian, Czech, Slovak, Polish, Hungarian, Lithuanian, Latvian
    "izvori|vanjske poveznice|vidi također|bilješke|povezani članci|vanjski linkovi|također pogledajte|sklici|zunanje povezave|glej tudi|viri|opombe|galerija",
    "externí odkazy|související články|poznámky|odkazy|zdroje|prameny|referencie|externé odkazy|iné projekty|pozri aj|poznámky a referencie|reference a poznámky|související stránky",
    "przypisy|linki zewnętrzne|zobacz też|uwagi|literatura dodatkowa|źródła|bibliografia i przypisy|przypisy i bibliografia",
    "jegyzetek|források|forrás|további információk|kapcsolódó szócikkek|külső hivatkozások|lásd még|megjegyzések|galéria|hivatkozások|ajánlott irodalom",
    "šaltiniai|nuorodos|taip pat skaitykite|išnašos|atsauces|ārējās saites|skatīt arī",
    // Turkish, Azerbaijani, Indonesian, Malay, Vietnamese
    "kaynakça|dış bağlantılar|ayrıca bakınız|notlar|kaynaklar|konuyla ilgili yayınlar|galeri|dipnotlar|kaynak|istinadlar|i̇stinadlar|xarici keçidlər|həmçinin bax|mənbə|qeydlər",
    "referensi|pranala luar|lihat pula|lihat juga|catatan kaki|catatan|daftar pustaka|bacaan lanjutan|bacaan lebih lanjut|rujukan|sumber|bacaan lanjut|pautan luar|nota kaki",
    "tham khảo|liên kết ngoài|xem thêm|chú thích|ghi chú|nguồn|thư mục|đọc thêm|nguồn tham khảo|tài liệu tham khảo|chú thích và tham khảo|tham khảo và chú thích|hình ảnh|thư viện ảnh|chú thích và nguồn tham khảo|thư mục tham khảo|tài liệu",
    // Greek, Hebrew, Arabic, Persian, Urdu
    "παραπομπές|εξωτερικοί σύνδεσμοι|δείτε επίσης|πηγές|βιβλιογραφία|σημειώσεις|υποσημειώσεις|παραπομπές και σημειώσεις|παραπομπές - σημειώσεις",
    "הערות שוליים|קישורים חיצוניים|ראו גם|לקריאה נוספת|ביבליוגרפיה|מקורות|גלריה|גלריית תמונות",
    "مراجع|المراجع|وصلات خارجية|روابط خارجية|انظر أيضا|انظر أيضًا|انظر ايضا|مصادر|المصادر|ملاحظات|هوامش|معرض صور|قراءة موسعة|اقرأ أيضا|اقرأ أيضًا|معرض الصور|المراجع والمصادر|طالع أيضا",
    "منابع|پیوند به بیرون|جستارهای وابسته|پانویس|یادداشت‌ها|یادداشت|پانویس‌ها|منابع و پانویس|نگارخانه|کتاب‌شناسی|برای مطالعهٔ بیشتر|ارجاعات|پیوندهای بیرونی|جُستارهای وابسته|حوالہ جات|بیرونی روابط|مزید دیکھیے|حوالہ جات و حواشی",
    // Hindi, Marathi, Nepali, Bengali, Tamil, Telugu, Thai
    "सन्दर्भ|संदर्भ|बाहरी कड़ियाँ|बाहरी कड़ियां|इन्हें भी देखें|इन्हे भी देखें|टिप्पणी|टिप्पणियाँ|बाहरी कड़ी|स्रोत|ग्रन्थसूची|ग्रंथसूची|आगे पढ़ें|यह भी देखें|सन्दर्भ ग्रन्थ|सन्दर्भ सूची|संदर्भ सूची|दीर्घा|सन्दर्भहरू|बाह्य कडीहरू|बाह्य लिङ्कहरू",
    "बाह्य दुवे|हे सुद्धा पहा|हे ही पहा|हेसुद्धा पहा|संदर्भ आणि नोंदी|संदर्भ व नोंदी|अधिक वाचन|बाह्यदुवे|संदर्भसूची|संदर्भ यादी|हे पण पहा|हेही पहा|चित्रदालन|संदर्भग्रंथ|संदर्भ ग्रंथ|नोंदी|बाह्य दुवा|बाह्य दुवे व संदर्भ|संदर्भ आणि टीप|हेदेखील पाहा|हे देखील पहा|तळटिपा",
    "তথ্যসূত্র|বহিঃসংযোগ|আরও দেখুন|আরো দেখুন|টীকা|গ্রন্থপঞ্জি|পাদটীকা|আরও পড়ুন|চিত্রশালা|மேற்கோள்கள்|வெளி இணைப்புகள்|வெளியிணைப்புகள்|இவற்றையும் பார்க்க|உசாத்துணை|குறிப்புகள்|మూలాలు|బయటి లింకులు|ఇవి కూడా చూడండి",
    "อ้างอิง|แหล่งข้อมูลอื่น|ดูเพิ่ม|หมายเหตุ|บรรณานุกรม|เชิงอรรถ|รายการอ้างอิง|อ่านเพิ่มเติม|ระเบียงภาพ",
    // Japanese, Chinese, Korean
    "脚注|参考文献|関連項目|外部リンク|出典|注釈|注|脚注・出典|注釈・出典|関連文献|参考資料|注記|ギャラリー|注釈と出典|出典・脚注|注釈・脚注|参考文献・外部リンク",
    "參考文獻|外部链接|外部連結|外部鏈接|外部连接|参见|參見|注释|註釋|注釋|参考资料|參考資料|相关条目|相關條目|腳註|延伸阅读|延伸閱讀|备注|備註|来源|來源|參看|参看|扩展阅读|擴展閱讀|参考来源|參考來源|图集|圖集|註解|注解|参考书目|參考書目|画廊|畫廊|注释与参考文献|参考|參考|参照|參閱|参阅",
    "각주|외부 링크|같이 보기|참고 문헌|참고문헌|주석|참고 자료|참고자료|출처|내용주|갤러리|외부링크|더 읽어보기|관련 항목|주해|각주 및 참고 문헌|사진",
    // Esperanto, Basque, Armenian, Georgian
    "referencoj|eksteraj ligiloj|vidu ankaŭ|notoj|fontoj|erreferentziak|kanpo estekak|ikus, gainera|oharrak|ծանոթագրություններ|արտաքին հղումներ|տես նաև|სქოლიო|რესურსები ინტერნეტში|იხილეთ აგრეთვე",
];

/// Titles that head a reading list where they stand at the end of an article, and prose where they are part of another
/// section: of a country's culture, say.
const READING: &[&str] = &[
    "literature|literatur|literatura|literatuur|litteratur|литература|література|літаратура|літаратура|irodalom|kirjallisuus|kirjandus|literatúra|literaturo|literatūra|литературе|գրականություն|ლიტერატურა|ədəbiyyat",
];

/// The titles of both lists.
static KNOWN: LazyLock<(HashSet<&str>, HashSet<&str>)> = LazyLock::new(|| {
    let of = |lists: &[&'static str]| lists.iter().flat_map(|list| list.split('|')).collect();
    (of(TITLES), of(READING))
});

/// Whether a section of this title holds no prose of its own: references, links, reading lists. The title may be of any of
/// the larger Wikipedias.
pub fn is_boilerplate_section(title: &str) -> bool {
    is_boilerplate_heading(title, 2)
}

/// The same for a heading of a level: what a main section `Literatur` lists, a part of a section `Kultur` tells.
pub fn is_boilerplate_heading(title: &str, level: u8) -> bool {
    let title = title.trim().trim_end_matches([':', '：']).to_lowercase();
    let title = title.split_whitespace().collect::<Vec<_>>().join(" ");
    KNOWN.0.contains(title.as_str()) || level <= 2 && KNOWN.1.contains(title.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_are_known_in_many_languages() {
        let titles = [
            "References",
            " See  Also ",
            "Weblinks",
            "Einzelnachweise",
            "Notes et références",
            "Véase también",
            "Note",
            "Referências",
            "Примечания",
            "Див. також",
            "Външни препратки",
            "Tham khảo",
            "Liên kết ngoài",
            "संदर्भ",
            "बाह्य दुवे",
            "सन्दर्भ",
            "脚注",
            "参考文献",
            "각주",
            "مراجع",
            "منابع",
            "Przypisy",
            "Zie ook",
            "Källor",
            "Externí odkazy",
            "Kaynakça:",
        ];
        for title in titles {
            assert!(is_boilerplate_section(title), "{title}");
        }
        for title in ["History", "Geschichte", "История", "इतिहास", "歴史", "Lịch sử", "", "Note on names", "|"]
        {
            assert!(!is_boilerplate_section(title), "{title}");
        }
    }

    #[test]
    fn literature_is_a_list_or_a_subject() {
        assert!(is_boilerplate_heading("Literatur", 2));
        assert!(!is_boilerplate_heading("Литература", 3));
        assert!(is_boilerplate_heading("Einzelnachweise", 3));
    }

    #[test]
    fn titles_are_written_small() {
        for title in TITLES.iter().chain(READING).flat_map(|list| list.split('|')) {
            assert_eq!(title, title.to_lowercase());
            assert_eq!(title, title.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
}
