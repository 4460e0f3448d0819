//! Chinese in all the ways to type it: by characters, by their sound whole, apart and in initials, by other characters of the
//! same sound, by traditional ones.

use std::collections::HashMap;

use futures::StreamExt;

use crate::shop::Shop;

/// Hits that are looked at.
const PLACES: usize = 10;
const SEARCHES_AT_ONCE: usize = 4;

/// A word of the demo catalogue's titles, in traditional characters, its syllables as they are typed (ü is v), and other
/// characters that sound alike.
type Word = (&'static str, &'static str, &'static str, &'static str);

const WORDS: [Word; 75] = [
    ("咖啡", "咖啡", "ka fei", "卡飞"),
    ("茶壶", "茶壺", "cha hu", "茶湖"),
    ("面包", "麵包", "mian bao", "棉包"),
    ("砧板", "砧板", "zhen ban", "真板"),
    ("铅笔", "鉛筆", "qian bi", "千笔"),
    ("钢笔", "鋼筆", "gang bi", "刚笔"),
    ("墨水", "墨水", "mo shui", "末水"),
    ("蜂蜜", "蜂蜜", "feng mi", "风蜜"),
    ("巧克力", "巧克力", "qiao ke li", "巧可力"),
    ("橄榄油", "橄欖油", "gan lan you", "甘蓝油"),
    ("蜡烛", "蠟燭", "la zhu", "辣烛"),
    ("台灯", "檯燈", "tai deng", "抬灯"),
    ("吊灯", "吊燈", "diao deng", "掉灯"),
    ("壁灯", "壁燈", "bi deng", "必灯"),
    ("帐篷", "帳篷", "zhang peng", "账篷"),
    ("睡袋", "睡袋", "shui dai", "税袋"),
    ("头灯", "頭燈", "tou deng", "投灯"),
    ("登山杖", "登山杖", "deng shan zhang", "登山仗"),
    ("保温杯", "保溫杯", "bao wen bei", "保文杯"),
    ("马克杯", "馬克杯", "ma ke bei", "马可杯"),
    ("玻璃杯", "玻璃杯", "bo li bei", "波力杯"),
    ("滤杯", "濾杯", "lv bei", "绿杯"),
    ("蒸笼", "蒸籠", "zheng long", "争龙"),
    ("面粉", "麵粉", "mian fen", "棉粉"),
    ("果酱", "果醬", "guo jiang", "裹酱"),
    ("剃须刀", "剃鬚刀", "ti xu dao", "替须刀"),
    ("牙刷", "牙刷", "ya shua", "压刷"),
    ("口琴", "口琴", "kou qin", "扣琴"),
    ("节拍器", "節拍器", "jie pai qi", "结拍器"),
    ("吉他弦", "吉他弦", "ji ta xian", "及他弦"),
    ("积木", "積木", "ji mu", "机木"),
    ("拼图", "拼圖", "pin tu", "贫图"),
    ("风筝", "風箏", "feng zheng", "蜂争"),
    ("跳绳", "跳繩", "tiao sheng", "跳生"),
    ("双肩包", "雙肩包", "shuang jian bao", "双间包"),
    ("拉杆箱", "拉桿箱", "la gan xiang", "拉干箱"),
    ("行李秤", "行李秤", "xing li cheng", "行礼秤"),
    ("相册", "相冊", "xiang ce", "香册"),
    ("日记", "日記", "ri ji", "日计"),
    ("笔记本", "筆記本", "bi ji ben", "笔计本"),
    ("明信片", "明信片", "ming xin pian", "名信片"),
    ("围裙", "圍裙", "wei qun", "为裙"),
    ("手套", "手套", "shou tao", "守套"),
    ("窗帘", "窗簾", "chuang lian", "床帘"),
    ("桌布", "桌布", "zhuo bu", "捉布"),
    ("被套", "被套", "bei tao", "背套"),
    ("烛台", "燭臺", "zhu tai", "主台"),
    ("灯泡", "燈泡", "deng pao", "等泡"),
    ("修枝剪", "修枝剪", "xiu zhi jian", "修纸剪"),
    ("螺丝刀", "螺絲刀", "luo si dao", "罗丝刀"),
    ("扳手", "扳手", "ban shou", "板手"),
    ("水平尺", "水平尺", "shui ping chi", "水瓶尺"),
    ("种子", "種子", "zhong zi", "钟子"),
    ("吊床", "吊床", "diao chuang", "钓床"),
    ("指北针", "指北針", "zhi bei zhen", "指北真"),
    ("尤克里里", "尤克里里", "you ke li li", "优克里里"),
    ("水彩", "水彩", "shui cai", "水采"),
    ("刺绣", "刺繡", "ci xiu", "次绣"),
    ("护手霜", "護手霜", "hu shou shuang", "户手霜"),
    ("润唇膏", "潤唇膏", "run chun gao", "润纯膏"),
    ("荞麦", "蕎麥", "qiao mai", "桥麦"),
    ("乌龙茶", "烏龍茶", "wu long cha", "五龙茶"),
    ("红茶", "紅茶", "hong cha", "洪茶"),
    ("磨豆机", "磨豆機", "mo dou ji", "末豆机"),
    ("意面", "意麵", "yi mian", "义面"),
    ("香料", "香料", "xiang liao", "香聊"),
    ("辣椒", "辣椒", "la jiao", "蜡椒"),
    ("海盐", "海鹽", "hai yan", "海言"),
    ("织机", "織機", "zhi ji", "之机"),
    ("托盘", "托盤", "tuo pan", "拖盘"),
    ("胶带", "膠帶", "jiao dai", "交带"),
    // Characters with several readings.
    ("乐团", "樂團", "yue tuan", "月团"),
    ("音乐会", "音樂會", "yin yue hui", "音月会"),
    ("长柄", "長柄", "chang bing", "常柄"),
    ("调音器", "調音器", "tiao yin qi", "条音器"),
];

/// A way to type words, and the share of the words, in percent, that must be found by it.
type Way = (&'static str, usize, fn(&Word) -> String);

const WAYS: [Way; 6] = [
    ("characters", 100, |word| word.0.to_owned()),
    ("traditional", 100, |word| word.1.to_owned()),
    ("pinyin", 95, |word| word.2.replace(' ', "")),
    ("pinyin apart", 95, |word| word.2.to_owned()),
    ("initials", 90, |word| word.2.split(' ').map(|syllable| &syllable[..1]).collect()),
    ("same sound", 80, |word| word.3.to_owned()),
];

/// The Chinese titles of the first products that a text finds.
async fn titles(shop: &Shop, q: &str, limit: usize) -> Vec<String> {
    let items = shop.listing(&[("q", q), ("lang", "zh"), ("limit", &limit.to_string())]).await.body["items"].clone();
    items.as_array().unwrap().iter().map(|item| item["title"].as_str().unwrap().to_owned()).collect()
}

async fn all_titles(shop: &Shop) -> Vec<String> {
    let mut titles = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = shop.listing(&[("lang", "zh"), ("limit", "200"), ("cursor", &cursor)]).await.body;
        titles.extend(page["items"].as_array().unwrap().iter().map(|item| item["title"].as_str().unwrap().to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => return titles,
        }
    }
}

/// The answers to these queries in their order.
async fn found(shop: &Shop, queries: &[String]) -> Vec<Vec<String>> {
    let searches = queries.iter().map(|q| titles(shop, q, PLACES));
    futures::stream::iter(searches).buffered(SEARCHES_AT_ONCE).collect().await
}

#[tokio::test(flavor = "multi_thread")]
async fn chinese_is_found_however_it_is_typed() {
    let shop = Shop::with_demo().await;
    let catalogue = all_titles(&shop).await;
    let holders: Vec<usize> = WORDS.iter().map(|word| catalogue.iter().filter(|title| title.contains(word.0)).count()).collect();
    for (word, holders) in WORDS.iter().zip(&holders) {
        assert!(*holders > 0, "no title has {}", word.0);
        assert!(catalogue.iter().all(|title| !title.contains(word.3)), "a title has {}", word.3);
        assert_eq!(word.0.chars().count(), word.2.split(' ').count(), "{}", word.2);
    }

    println!("\nway            asked  found@10  first  all of its products@10");
    let mut short = Vec::new();
    let mut answers: HashMap<&str, Vec<Vec<String>>> = HashMap::new();
    for (way, floor, typed) in WAYS {
        let queries: Vec<String> = WORDS.iter().map(typed).collect();
        let found = found(&shop, &queries).await;
        let (mut hit, mut first, mut whole) = (0, 0, 0);
        let mut missed = Vec::new();
        for (((word, query), titles), holders) in WORDS.iter().zip(&queries).zip(&found).zip(&holders) {
            let right = titles.iter().filter(|title| title.contains(word.0)).count();
            hit += usize::from(right > 0);
            first += usize::from(titles.first().is_some_and(|title| title.contains(word.0)));
            whole += usize::from(right == PLACES.min(*holders));
            if right == 0 {
                missed.push(format!("{query} for {}", word.0));
            }
        }
        println!("{way:14} {:5} {hit:9} {first:6} {whole:10}", WORDS.len());
        if hit * 100 < floor * WORDS.len() {
            short.push(format!("by {way} {hit} of {} are found, not {floor} %; missed: {}", WORDS.len(), missed.join(", ")));
        } else if !missed.is_empty() {
            println!("               missed: {}", missed.join(", "));
        }
        answers.insert(way, found);
    }
    assert!(short.is_empty(), "{}", short.join("\n"));
    assert_eq!(answers["traditional"], answers["characters"]);
}

/// A title names its product, whoever cut it into words.
#[tokio::test(flavor = "multi_thread")]
async fn every_chinese_title_finds_its_product_first() {
    let shop = Shop::with_demo().await;
    let catalogue = all_titles(&shop).await;
    let found = found(&shop, &catalogue).await;
    let missed: Vec<&String> =
        catalogue.iter().zip(&found).filter(|(title, found)| found.first() != Some(title)).map(|(title, _)| title).collect();
    println!("{} titles, {} not first: {missed:?}", catalogue.len(), missed.len());
    assert!(missed.is_empty(), "{missed:?}");
}
