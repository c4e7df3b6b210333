// What the page does beyond showing itself: everything is readable without.
import { drawCharts } from './charts.js';
import { takeOrders } from './orders.js';
import { followRuns } from './running.js';
import { leaveFrame } from './frame.js';

leaveFrame();
takeOrders();
followRuns();
drawCharts();
