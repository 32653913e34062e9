import './highwater.js';
